"""Quantity, Range, Ratio and the like as NM, SN, CQ and the units beside them, with every digit as it came.

Invariant: a number is never rounded and never written where its unit would be lost: what has no data type that says
all of it is written as text.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.leaves import inside, joined, leaf, leaves
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import OWN, UCUM

COMPARATORS = ("<", "<=", ">", ">=")

#: A number of more digits than this is written as it came in JSON, as text: NM has no exponent.
_MOST_DIGITS = 64
_UNIT = OWN + "v2-unit"


def digits(value: Any) -> str:
    """A JSON number as NM has it: its own digits, without exponent; "" when NM cannot hold it or it is none."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_MOST_DIGITS else ""
    if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS or len(value.as_tuple().digits) > _MOST_DIGITS:
        return ""
    return format(value, "f")


def amount(w: Writing, quantity: Json) -> str:
    """The digits of a quantity's value; "" when there is none."""
    found = digits(quantity.get("value"))
    if found:
        w.skip(quantity, "value")
    return found


def unit(w: Writing, quantity: Json, owner: Json | None = None, kind: str = "CE") -> str:
    """A quantity's unit as CE or CWE; all of the v2 unit where a conversion to FHIR kept it beside its owner."""
    kept = kept_unit(w, owner, kind) if owner is not None else ""
    code, system, shown = w.text(quantity, "code"), w.text(quantity, "system"), w.text(quantity, "unit")
    if kept:
        return kept
    if system == UCUM and code:
        return leaves((code, shown if shown != code else "", "UCUM"))
    if code and not system:
        return leaves((code, shown if shown != code else ""))
    return leaf(shown or code)


def kept_unit(w: Writing, owner: Json, kind: str = "CE") -> str:
    """The whole of OBX-6 where it was kept in an extension."""
    for extension in w.extension(owner, _UNIT):
        if found := concept(w, extension, "valueCodeableConcept", full=full_type(w, kind)):
            return found
    return ""


def units_of(quantity: Json) -> tuple[Any, Any, Any]:
    """What two quantities must share to be written with one unit."""
    return quantity.get("unit"), quantity.get("system"), quantity.get("code")


def has_unit(quantity: Json) -> bool:
    """True when a quantity names a unit."""
    return any(units_of(quantity))


def composite(w: Writing, quantity: Json) -> str:
    """CQ: a number, and its unit in sub-components."""
    number = amount(w, quantity)
    return joined((number, inside(unit(w, quantity)))) if number else ""


def shown(quantity: Json) -> str:
    """A quantity on one line, for text."""
    words = (quantity.get("comparator"), _number(quantity), quantity.get("unit") or quantity.get("code"))
    return " ".join(word for word in words if isinstance(word, str) and word)


def _number(quantity: Json) -> str:
    value = quantity.get("value")
    plain = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return (digits(value) or str(value)[:_MOST_DIGITS]) if plain else ""


def take_all(w: Writing, *quantities: Json) -> None:
    """Say that these quantities were written as text."""
    for quantity in quantities:
        w.skip(quantity, "value", "unit", "code", "system", "comparator")
