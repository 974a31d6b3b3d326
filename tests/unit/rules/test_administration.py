"""Allergies, problems and diets: what a map decides where two fields speak of one element."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.formats.hl7v2 import read
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.lookup import CodeTables

HEAD = "MSH|^~\\&|A|B|||20260105101500-0600||{}|1|P|2.5\rPID|1||4711^^^HOSP^MR\r"


def made(kind: str, resource: str, text: str) -> dict[str, Any]:
    """The one resource of that type which the segments become."""
    payload = transaction(read((HEAD.format(kind) + text).encode()), CodeTables(), Conversion("test")).payload
    entries = [entry["resource"] for entry in orjson.loads(payload)["entry"]]
    (found,) = [entry for entry in entries if entry["resourceType"] == resource]
    return dict(found)


@pytest.mark.parametrize(
    ("allergen", "sensitivity", "kind", "note"),
    [
        ("FA", "IN^Intolerance", "intolerance", None),
        ("FA", "AL^Allergy", "allergy", None),
        ("FA", "", "allergy", None),
        ("FA", "SE^Side effect", "allergy", "Side effect"),
        ("", "CT^Contraindication", None, "Contraindication"),
    ],
)
def test_the_sensitivity_says_the_type_and_the_allergen_only_where_it_does_not(
    allergen: str, sensitivity: str, kind: str | None, note: str | None
) -> None:
    found = made("ADT^A60", "AllergyIntolerance", f"IAM|1|{allergen}|P^Peanut^L|||A|7||{sensitivity}")
    assert found.get("type") == kind
    assert [one["text"] for one in found.get("note", [{"text": None}])] == [note]


def test_words_for_the_kitchen_are_a_note_and_no_instruction_to_the_patient() -> None:
    found = made("ORM^O01", "ServiceRequest", "ORC|NW|P1||||||||||||||||||\rODS|P||D1^Diet^L|No salt")
    assert [one["text"] for one in found["note"]] == ["No salt"]
    assert "patientInstruction" not in found


def test_the_classification_of_a_problem_is_its_security_label() -> None:
    found = made("PPR^PC1", "Condition", "PRB|AD|20260101|K80^Stones^L|P1" + "|" * 21 + "HS^Highly sensitive^L")
    assert [one["code"] for one in found["meta"]["security"]] == ["HS"]
