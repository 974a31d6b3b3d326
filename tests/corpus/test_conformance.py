"""Every message of the corpus becomes a bundle that FHIR R4 allows, or is refused with a reason.

Structure, references and the invariants of `fhir_rules` hold without exception. What the published definitions and US
Core find is counted by rule, and every rule that is broken stands, with the reason, in docs/conformance.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from mappings.hl7v2_fhir.messages import SUPPORTED
from tests import fhir_rules, fhir_validator, us_core
from tests.corpus.conversions import Made, conversions
from tests.corpus.open_faults import judged
from tests.unit import docs_help

pytestmark = pytest.mark.corpus

PAGE = docs_help.DOCS / "conformance.md"
ACCEPTED = "| rule | broken by | reason |"
CONVERTED_AT_LEAST = 0.95
SAMPLE = 8
"""Bundles of each type that are validated in every run; all are where the tests marked `slow` run."""
CODE = re.compile("Code '([^']*)' is not valid in code system")
SEPARATORS = re.compile(r"[|^~&\r\n]")
LABORATORY = ("ORU", "OUL")


@cache
def accepted() -> tuple[str, ...]:
    """The rules that may be broken, where `*` stands for anything."""
    return tuple(rule.strip("`") for rule, _, _ in docs_help.rows(PAGE, ACCEPTED))


def allowed(rule: str) -> str:
    """What of the page allows a rule to be broken; "" when nothing does."""
    return next((pattern for pattern in accepted() if fnmatchcase(rule, pattern)), "")


def converted(shared: Path) -> list[Made]:
    return [made for made in conversions(shared) if made.payload]


def sample(all_of_them: Iterable[Made]) -> Iterator[Made]:
    """Some bundles of each type, spread over the corpus, and the same ones in every run."""
    by_kind: dict[str, list[Made]] = {}
    for made in all_of_them:
        by_kind.setdefault(made.kind, []).append(made)
    for found in by_kind.values():
        yield from found[:: -(-len(found) // SAMPLE)]


def broken(bundles: Iterable[Made]) -> dict[str, list[str]]:
    """The rules of the definitions and of US Core that are broken, and by what: place and message."""
    found: dict[str, list[str]] = {}
    for made in bundles:
        for entry in made.bundle["entry"]:
            resource = entry["resource"]
            profiles = [fhir_validator.US_CORE_PATIENT] if resource["resourceType"] == "Patient" else []
            for fault in fhir_validator.faults(resource, *profiles):
                found.setdefault(rule_of(fault, made.raw), []).append(f"{made.name}: {fault.message}")
            if made.kind in LABORATORY:
                for rule in us_core.laboratory_faults(resource):
                    found.setdefault(rule, []).append(made.name)
    return found


def rule_of(fault: fhir_validator.Fault, raw: bytes) -> str:
    """The rule, and whether the code that breaks it came with the message."""
    code = CODE.match(fault.message)
    said = code is not None and code[1] in SEPARATORS.split(raw.decode("latin-1"))
    return f"{fault.rule} (as sent)" if said else fault.rule


def unexpected(found: dict[str, list[str]], asked: Iterable[Made]) -> str:
    """What of the broken rules neither the page allows nor is known."""
    by_message: dict[str, list[str]] = {}
    for rule, places in found.items():
        for place in [] if allowed(rule) else places:
            name, _, message = place.partition(": ")
            by_message.setdefault(name, []).append(f"{rule}: {message}")
    return judged("definitions", by_message, [made.name for made in asked])


def test_nothing_crashes_and_every_refusal_has_a_reason(shared: Path) -> None:
    everything = conversions(shared)
    assert len(everything) > 1_400
    assert [(made.name, made.crashed) for made in everything if made.crashed] == []
    assert [made.name for made in everything if not made.payload and not made.refused] == []


def test_nearly_every_message_of_a_type_that_is_converted_is(shared: Path) -> None:
    supported = [made for made in conversions(shared) if made.kind in SUPPORTED]
    refused = [made for made in supported if made.refused]
    assert len(refused) <= len(supported) * (1 - CONVERTED_AT_LEAST), Counter(made.refused for made in refused)


def test_every_bundle_has_the_structure_of_fhir(shared: Path) -> None:
    faults = {made.name: fhir_rules.faults(made.bundle) for made in converted(shared)}
    assert judged("structure", {name: found for name, found in faults.items() if found}, faults) == ""


def test_a_sample_of_each_type_follows_the_definitions(shared: Path) -> None:
    asked = list(sample(converted(shared)))
    assert unexpected(broken(asked), asked) == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_bundle_follows_the_definitions(shared: Path) -> None:
    found = broken(converted(shared))
    assert unexpected(found, converted(shared)) == ""
    unused = set(accepted()) - {allowed(rule) for rule in found}
    assert not unused, f"no longer broken; take out of {PAGE.name}: {sorted(unused)}"
