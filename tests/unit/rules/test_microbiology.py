"""Parent and child: a susceptibility belongs to the organism that its order names, or visibly to none."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import of

from engine.model import Converted
from tests.unit.rules.segments import findings, message, obr, obx, only

ECOLI, STAPH = "112283007^Escherichia coli^SCT", "3092008^Staphylococcus aureus^SCT"
PARENT = "P1&LEE^F1&LAB"


def organism(sub: str = "1", value: str = ECOLI, **fields: str) -> str:
    return obx(**{"n2": "CE", "n3": "ORG^Organism^L", "n4": sub, "n5": value, **fields})


def child(result: str = "ORG&Organism&L^1^Escherichia coli", parent: str = PARENT, number: str = "F2^LAB") -> str:
    return obr(n2="P2^LEE", n3=number, n4="SUSC^Susceptibility^L", n26=result, n29=parent)


def drug(code: str = "AMP", flag: str = "R", **fields: str) -> str:
    return obx(**{"n2": "SN", "n3": f"{code}^Drug {code}^L", "n4": "1", "n5": ">^16", "n8": flag, **fields})


def members(made: Converted) -> dict[str, list[str]]:
    """For each organism the drugs that it lists; each must refer back to it."""
    by_reference = {f"Observation/{one['id']}": one for one in of("Observation", made)}
    found: dict[str, list[str]] = {}
    for reference, one in by_reference.items():
        for member in one.get("hasMember", ()):
            drug_ = by_reference[member["reference"]]
            assert drug_["derivedFrom"] == [{"reference": reference}]
            found.setdefault(name(one), []).append(drug_["code"]["coding"][0]["code"])
    return found


def name(one: dict[str, Any]) -> str:
    return str(one["valueCodeableConcept"]["text"])


def test_a_susceptibility_belongs_to_the_organism_of_obr_26() -> None:
    made = message(obr(), organism(), child(), drug(), drug("CIP", "S"))
    assert members(made) == {"Escherichia coli": ["AMP", "CIP"]} and findings(made) == []


def test_the_child_s_request_is_based_on_the_parent_s() -> None:
    parent, request = of("ServiceRequest", message(obr(), organism(), child(), drug()))
    assert request["basedOn"] == [{"reference": f"ServiceRequest/{parent['id']}"}]


@pytest.mark.parametrize("parent", ["P1&LEE^F1&LAB", "^F1&LAB", "P1&LEE", "P9&LEE^F1&LAB"])
def test_the_parent_is_named_by_either_number(parent: str) -> None:
    made = message(obr(), organism(), child(parent=parent), drug())
    assert members(made) == {"Escherichia coli": ["AMP"]}


def test_the_sub_id_tells_organisms_apart_and_is_kept() -> None:
    made = message(obr(), organism("1"), organism("2", STAPH), child("ORG&Organism&L^2"), drug())
    assert members(made) == {"Staphylococcus aureus": ["AMP"]}
    extension = of("Observation", made)[1]["extension"][0]
    assert extension["url"] == "http://hl7.org/fhir/StructureDefinition/observation-v2-subid"
    assert extension["extension"] == [{"url": "original-sub-identifier", "valueString": "2"}]


@pytest.mark.parametrize("value", ["Staphylococcus aureus", "STAPHYLOCOCCUS AUREUS", "3092008"])
def test_the_value_tells_organisms_apart_that_have_no_sub_id(value: str) -> None:
    made = message(obr(), organism(""), organism("", STAPH), child(f"ORG&Organism&L^^{value}"), drug())
    assert members(made) == {"Staphylococcus aureus": ["AMP"]}


@pytest.mark.parametrize("value", ["", "Klebsiella"])
def test_of_two_organisms_that_it_may_be_none_is_taken(value: str) -> None:
    made = message(obr(), organism(""), organism("", STAPH), child(f"ORG&Organism&L^^{value}"), drug())
    assert members(made) == {} and findings(made) == ["parent_not_found OBR[2]-26"]


@pytest.mark.parametrize("result", ["ORG&Organism&L^9", "OTHER&Other&L^1", "^1"])
def test_an_organism_that_is_not_there_is_reported_and_kept_to_read(result: str) -> None:
    made = message(obr(), organism(), child(result), drug())
    assert members(made) == {} and findings(made) == ["parent_not_found OBR[2]-26"]
    (reference,) = of("Observation", made)[1]["derivedFrom"]
    assert reference.keys() == {"type", "display"}
    assert reference["display"].split()[-1] == result[-1]


def test_a_parent_that_is_not_there_keeps_its_numbers_and_what_it_found() -> None:
    made = message(child(parent="P9&LEE^F9&LAB"), drug())
    assert [one["identifier"]["value"] for one in only("ServiceRequest", made)["basedOn"]] == ["F9", "P9"]
    assert only("Observation", made)["derivedFrom"] == [
        {"type": "Observation", "display": "Organism 1 Escherichia coli"}
    ]
    assert findings(made) == ["parent_not_found OBR[1]-29"]


def test_the_parent_may_stand_behind_the_child() -> None:
    made = message(child(), drug(), obr(), organism())
    assert members(made) == {"Escherichia coli": ["AMP"]} and findings(made) == []


def test_the_organism_may_be_in_any_order_of_the_parent_s_number() -> None:
    made = message(obr(n4="GRAM^Gram stain^L"), obx(), obr(n4="CULT^Culture^L"), organism(), child(), drug())
    assert members(made) == {"Escherichia coli": ["AMP"]} and findings(made) == []


def test_no_order_is_its_own_parent() -> None:
    made = message(child(number="F1^LAB", parent="^F1&LAB"), drug())
    assert findings(made) == ["parent_not_found OBR[1]-29"]


def test_organism_and_susceptibility_are_both_results_of_their_reports() -> None:
    made = message(obr(), organism(), child(), drug())
    culture, susceptibility = of("DiagnosticReport", made)
    found, tested = of("Observation", made)
    assert culture["result"] == [{"reference": f"Observation/{found['id']}"}]
    assert susceptibility["result"] == [{"reference": f"Observation/{tested['id']}"}]


def test_a_mapped_code_finds_the_organism_by_the_sender_s_own_code() -> None:
    """A channel's table has written LOINC into OBX-3; OBR-26 still has the sender's own code."""
    made = message(obr(), organism(n3="6463-4^Bacteria^LN^ORG^Organism^L"), child(), drug())
    assert members(made) == {"Escherichia coli": ["AMP"]}


def test_a_stored_organism_that_is_only_finalised_gets_no_members() -> None:
    made = message(obr(), organism(value="", n11="U"), child(), drug())
    assert members(made) == {} and findings(made) == ["parent_not_found OBR[2]-26"]
