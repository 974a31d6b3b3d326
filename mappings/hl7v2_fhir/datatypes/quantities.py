"""NM, SN, NR, CQ and OBX-6 and 7 as FHIR quantities, ranges and ratios, with every digit as it was written.

A number keeps its precision (1.10 stays 1.10), and what is not a number is never made one. A unit gets a code only
with the system that it is a code of.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from orjson import Fragment

from mappings.hl7v2_fhir.clock import read_day
from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import ISO_UNITS, OWN, UCUM, Json

COMPARATORS = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as FHIR says it. `kept` holds the OBX-6 codes that a Quantity has no place for."""

    quantity: Json
    kept: Json | None
    whole: Json | None
    fault: str = ""


NO_UNIT = Unit({}, None, None)


def decimal(text: str) -> str:
    """A v2 number as JSON writes it: `.5` is 0.5, `+3` is 3, `1.10` stays; "" when it is not a number."""
    whole, dot, fraction = text.partition(".")
    if whole.isdigit() and (whole[0] != "0" or whole == "0") and (fraction.isdigit() or not dot) and text.isascii():
        return text
    sign, digits = "", text
    if text[:1] in ("+", "-"):
        sign, digits = ("-" if text[0] == "-" else ""), text[1:]
    whole, dot, fraction = digits.partition(".")
    if not digits.isascii() or (dot and fraction and not fraction.isdigit()):
        return ""
    if whole.isdigit():
        if whole[0] == "0":
            whole = whole.lstrip("0") or "0"
    elif whole or not fraction:
        return ""
    return f"{sign}{whole or '0'}.{fraction}" if fraction else sign + whole


LARGEST = 2**31 - 1
"""FHIR R4, integer: 32 bits."""


def whole(text: str, least: int = 0) -> int | None:
    """A whole number that FHIR can hold, from `least` on; None when the text is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST))):
        return None
    value = int(text)
    return value if least <= value <= LARGEST else None


#: `decimal` of short texts, remembered: a bare number names nobody, and laboratories report few different ones.
short_decimal = lru_cache(maxsize=4096)(decimal)


def number(text: str) -> Fragment | None:
    """A JSON number with the digits as they were written; None when the text is not a number."""
    written = decimal(text)
    return Fragment(written) if written else None


def ordered(low: str, high: str) -> bool:
    """True when two numbers, as they came, can be the ends of a Range (FHIR R4 rng-2)."""
    return Decimal(decimal(low)) <= Decimal(decimal(high))


def quantity(value: Fragment, unit: Unit) -> Json:
    """A Quantity of a number and a unit."""
    return {"value": value, **unit.quantity}


def unit_of(reading: Reading, raw: str) -> Unit:
    """OBX-6 as a unit: with code and system only where it names UCUM, or ISO+ and the code is known in UCUM."""
    return reading.dialect.cached(_unit, reading, raw) if raw and raw != '""' else NO_UNIT


def _unit(reading: Reading, raw: str) -> Unit:
    parts = reading.texts(raw, 6)
    whole = concept(reading, raw)
    shown = parts[1] or parts[0] or parts[4] or parts[3]
    for code, system in ((parts[0], parts[2]), (parts[3], parts[5])):
        if code and " " not in code and system:
            if reading.dialect.code_system(system) == UCUM:
                return Unit({"unit": shown, "system": UCUM, "code": code}, _kept(parts, whole), whole)
            if system in ("ISO+", "ISO") and code.lower() in ISO_UNITS:
                return Unit(
                    {"unit": shown, "system": UCUM, "code": ISO_UNITS[code.lower()]}, _kept(parts, whole), whole
                )
    fault = "unit_unknown" if parts[2] in ("ISO+", "ISO") else ""
    return Unit({"unit": shown} if shown else {}, _kept(parts, whole), whole, fault)


def _kept(parts: list[str], whole: Json | None) -> Json | None:
    """The extension that keeps all of OBX-6, where unit, code and system do not already say it."""
    if (
        whole is None
        or not any(parts[1:])
        or ((not any(parts[3:]) and parts[2] in ("UCUM", "")) and parts[1] in ("", parts[0]))
    ):
        return None
    return unit_extension(whole)


def unit_extension(whole: Json) -> Json:
    """All of a unit field as a coded extension."""
    return {"url": OWN + "v2-unit", "valueCodeableConcept": whole}


def reference_range(reading: Reading, raw: str, unit: Unit) -> list[Json]:
    """OBX-7: its text always; low and high with the unit of OBX-6 only where the text can mean one thing."""
    text = reading.text(raw)
    if not text:
        return []
    found: Json = {}
    low, high = reading.dialect.cached(_bounds, reading, text)
    if low:
        found["low"] = {"value": Fragment(low), **unit.quantity}
    if high:
        found["high"] = {"value": Fragment(high), **unit.quantity}
    found["text"] = text
    return [found]


def _bounds(_: Reading, text: str) -> tuple[str, str]:
    """`a-b`, `<a`, `<=a`, `>a`, `>=a`, `a-`, with plain numbers: dates, negatives and lists are left as text."""
    if text[0] in "<>":
        bound = _plain(text[1:].removeprefix("=").strip())
        return (bound, "") if text[0] == ">" else ("", bound)
    low, dash, high = text.partition("-")
    if not dash:
        return "", ""
    low, high = low.strip(), high.strip()
    first, second = _plain(low), _plain(high)
    if not first or (high and not second):
        return "", ""
    if second and (not ordered(first, second) or (_is_day(first) and _is_day(second))):
        return "", ""
    return first, second


def _is_day(number: str) -> bool:
    """True for eight digits that are a day of the calendar."""
    return len(number) == 8 and bool(read_day(number)[0])


def _plain(text: str) -> str:
    """A number that reads as nothing else: no sign, no leading zero that a date or code might have."""
    if not text or text[0] in "+-" or (text[0] == "0" and text[1:2].isdigit()):
        return ""
    return decimal(text)


def structured(reading: Reading, raw: str, unit: Unit) -> tuple[str, Json | str]:
    """SN: the FHIR element and its value; ("valueString", text) for what none of them says."""
    comparator, first, mark, second, *more = reading.texts(raw, 4)
    a, b = number(first), number(second)
    text = f"{comparator}{first}{mark}{second}"
    if any(more):
        return "valueString", reading.text(raw)
    if comparator in ("", "=", *COMPARATORS) and a is not None and not mark and not second:
        value = quantity(a, unit)
        if comparator in COMPARATORS:
            value["comparator"] = comparator
        return "valueQuantity", value
    if comparator in ("", "=") and a is not None and b is not None:
        if mark == "-" and ordered(first, second):
            return "valueRange", {"low": quantity(a, unit), "high": quantity(b, unit)}
        if mark in (":", "/"):
            return "valueRatio", {"numerator": quantity(a, unit), "denominator": {"value": b}}
    return "valueString", text


def is_structured(reading: Reading, raw: str) -> bool:
    """True when an SN that became text follows its type all the same: a suffix, a comparator with a range or ratio."""
    comparator, first, mark, second = reading.texts(raw, 4)[:4]
    numbers = bool(decimal(first)) and (not second or bool(decimal(second)))
    if numbers and second and mark == "-" and not ordered(first, second):
        return False
    return numbers and comparator in ("", "=", "<>", *COMPARATORS) and mark in ("", "-", "+", "/", ".", ":")


def composite(reading: Reading, raw: str) -> Json:
    """CQ: a number and its unit, which stands in its second component with subcomponents."""
    amount, unit = reading.parts(raw, 2)[:2]
    value = number(reading.text(amount))
    if value is None:
        return {}
    return quantity(value, unit_of(reading, unit.replace(reading.subcomponent, reading.component)))
