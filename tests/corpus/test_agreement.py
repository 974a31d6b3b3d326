"""Our bundles hold what other converters found in the same messages, but for what `differences.csv` explains."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.agreement import Agreement, compare_all, rules
from tests.corpus.atoms import atoms, pairs, told, value_of, zones_apart

EXPLAINED = {"CDCgov/prime-reportstream": 0.81, "CDCgov/trusted-intermediary": 0.97, "microsoft/FHIR-Converter": 0.75}
"""By origin the share of expected atoms that agree or differ deliberately; less means that something was lost."""
CLINICAL = {"DiagnosticReport": 0.99, "Observation": 0.99, "ServiceRequest": 0.97}
"""By resource, of the origins whose messages are results."""


@pytest.fixture(scope="module")
def found(shared: Path) -> Agreement:
    return compare_all(shared)


def share(found: Agreement, origins: str, resources: tuple[str, ...] = ()) -> float:
    """The share of atoms that agree or are explained."""
    keys = [key for key in found.expected if key[0].startswith(origins) and (not resources or key[1] in resources)]
    meant = Counter((one.origin, one.resource) for one in found.differences if one.rule)
    return sum(found.agreed[key] + meant[key] for key in keys) / sum(found.expected[key] for key in keys)


@pytest.mark.corpus
@pytest.mark.parametrize("origin", EXPLAINED)
def test_what_others_found_is_there_or_its_absence_explained(found: Agreement, origin: str) -> None:
    assert found.compared > 250
    assert share(found, origin) >= EXPLAINED[origin]


@pytest.mark.corpus
@pytest.mark.parametrize("resource", CLINICAL)
def test_results_hold_what_others_found(found: Agreement, resource: str) -> None:
    assert share(found, "CDCgov/", (resource,)) >= CLINICAL[resource]


@pytest.mark.corpus
def test_every_difference_that_is_explained_is_there(found: Agreement) -> None:
    used = {one.rule for one in found.differences}
    assert [rule for rule in rules() if rule not in used] == []


def test_atoms_have_paths_without_indexes_and_leave_out_what_is_nobody_elses() -> None:
    resource = {
        "resourceType": "Patient",
        "id": "1",
        "name": [{"given": ["Ann", "Lee"]}, {"extension": [{"url": "https://example.org/x", "valueString": "x"}]}],
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-religion", "valueString": "y"}],
        "managingOrganization": {"reference": "Organization/2"},
    }
    assert set(atoms(resource)) == {
        ("name.given", "Ann"),
        ("name.given", "Lee"),
        ("extension(patient-religion).valueString", "y"),
        ("managingOrganization.reference", "Organization"),
    }


def test_values_are_compared_by_what_they_say() -> None:
    assert value_of("2024-01-15T10:00:00-06:00") == value_of("2024-01-15T16:00:00.000Z")
    assert value_of(1.50) == value_of("1.5")
    assert value_of(True) == "true"
    assert zones_apart("2024-01-15T10:00:00Z", "2024-01-15T16:00:00Z")
    assert not zones_apart("2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z")
    assert not zones_apart("2024-01-15", "2024-01-16")


def test_the_most_alike_are_paired_and_one_of_ours_only_shared_ones_twice() -> None:
    theirs = [atoms({"code": "a", "unit": "b"}), atoms({"code": "a"}), atoms({"code": "c"})]
    ours = [atoms({"code": "a"}), atoms({"code": "a", "unit": "b"})]
    assert sorted(pairs(theirs, ours, shared=False)) == [(0, 1), (1, 0)]
    assert dict(pairs(theirs[:2], ours[1:], shared=True)) == {0: 0, 1: 0}


def test_who_only_assigned_a_number_is_no_resource_of_ours() -> None:
    assigner = {"resourceType": "Organization", "id": "1"}
    keeper = {"resourceType": "Organization", "id": "2"}
    patient = {
        "resourceType": "Patient",
        "id": "3",
        "identifier": [{"assigner": {"reference": "Organization/1"}}],
        "managingOrganization": {"reference": "Organization/2"},
    }
    assert told([assigner, keeper, patient], frozenset({"Organization"})) == [keeper, patient]
