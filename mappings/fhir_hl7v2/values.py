"""value[x] by its type as OBX-2, OBX-5 and OBX-6: one function a type.

Invariant: a value is never dropped and never made into something it does not say; what has no v2 data type that says
all of it is text, and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mappings.fhir_hl7v2.clock import original, period, range_of_times, stamp, time_of_day
from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.leaves import joined, leaf, leaves, repeated
from mappings.fhir_hl7v2.quantities import (
    COMPARATORS,
    amount,
    digits,
    has_unit,
    shown,
    take_all,
    unit,
    units_of,
)
from mappings.fhir_hl7v2.writing import Json, Writing


class Value(NamedTuple):
    """OBX-2, 5 and 6 of one value."""

    kind: str = ""
    text: str = ""
    unit: str = ""


Put = Callable[[Writing, Json, str, Json], Value]
"""(writing, what holds the value, the element's name, whose extensions may keep the unit) -> value."""

NO_VALUE = Value()


def value_of(w: Writing, element: Json, owner: Json, where: str) -> Value:
    """The value of an Observation or of a component of one; NO_VALUE when there is none."""
    for name, put in _PUTS.items():
        if name in element or "_" + name in element:
            found = put(w, element, name, owner)
            if found.kind == _AS_TEXT and found.text:
                w.find("value_as_text", f"{where}.{name}")
                return found._replace(kind=_text_type(found.text))
            if found.text:
                return found
    return NO_VALUE


def repeated_values(values: Sequence[Value]) -> Value:
    """Values of one type and unit as the repetitions of one OBX-5."""
    first = values[0]
    return first._replace(text=repeated(value.text for value in values))


_AS_TEXT = "?"


def _quantity(w: Writing, element: Json, name: str, owner: Json) -> Value:
    quantity = w.item(element, name)
    number, comparator = amount(w, quantity), quantity.get("comparator")
    if not number or comparator not in (None, *COMPARATORS):
        if text := shown(quantity):
            take_all(w, quantity)
        return Value(_AS_TEXT, leaf(text))
    measure = unit(w, quantity, owner)
    if not comparator:
        return Value("NM", number, measure)
    w.skip(quantity, "comparator")
    return Value("SN", leaves((str(comparator), number)), measure)


def _integer(w: Writing, element: Json, name: str, owner: Json) -> Value:
    number = digits(element.get(name))
    if not number:
        return Value(_AS_TEXT, leaf(w.text(element, name)))
    w.skip(element, name)
    return Value("NM", number)


def _range(w: Writing, element: Json, name: str, owner: Json) -> Value:
    """Both ends: SN `^1^-^2`. One end: SN `>=^1` or `<=^2`, for the ends of a Range belong to it."""
    whole = w.item(element, name)
    low, high = w.item(whole, "low"), w.item(whole, "high")
    ends = [end for end in (low, high) if end]
    numbers = [digits(end.get("value")) for end in ends]
    if not all(numbers) or not ends or (len(ends) == 2 and units_of(low) != units_of(high)):
        take_all(w, low, high)
        return Value(_AS_TEXT, leaf(f"{shown(low)} - {shown(high)}".strip()))
    measure = unit(w, ends[0], owner)
    take_all(w, low, high)
    if len(ends) == 2:
        return Value("SN", leaves(("", numbers[0], "-", numbers[1])), measure)
    return Value("SN", leaves((">=" if low else "<=", numbers[0])), measure)


def _ratio(w: Writing, element: Json, name: str, owner: Json) -> Value:
    """SN `^1^:^128`; of two units, which SN has no room for, text."""
    whole = w.item(element, name)
    over, under = w.item(whole, "numerator"), w.item(whole, "denominator")
    numbers = digits(over.get("value")), digits(under.get("value"))
    comparator = over.get("comparator", "")
    if not all(numbers) or has_unit(under) or under.get("comparator") or comparator not in ("", *COMPARATORS):
        take_all(w, over, under)
        return Value(_AS_TEXT, leaf(f"{shown(over)} : {shown(under)}"))
    measure = unit(w, over, owner)
    take_all(w, over, under)
    return Value("SN", leaves((comparator, numbers[0], ":", numbers[1])), measure)


def _concept(w: Writing, element: Json, name: str, owner: Json) -> Value:
    full = full_type(w, "CE")
    return Value("CWE" if full else "CE", concept(w, element, name, full=full))


def _boolean(w: Writing, element: Json, name: str, owner: Json) -> Value:
    said = w.flag(element, name)
    words = {True: ("Y", "Yes", "HL70136"), False: ("N", "No", "HL70136"), None: ()}[said]
    return Value("CWE" if full_type(w, "CE") else "CE", leaves(words))


def _string(w: Writing, element: Json, name: str, owner: Json) -> Value:
    text = leaf(w.text(element, name))
    return Value(_text_type(text), text)


def _date_time(w: Writing, element: Json, name: str, owner: Json) -> Value:
    """TS, since 2.6 DTM; a date of a day is DT in every version."""
    kept = original(w, element, name)
    said = w.text(element, name)
    text = kept or stamp(w, element, name, f"Observation.{name}")
    if not text:
        return Value(_AS_TEXT, leaf(said))
    if len(text) == 8 and not kept:
        return Value("DT", text)
    return Value("DTM" if w.options.since("2.6") else "TS", text)


def _time(w: Writing, element: Json, name: str, owner: Json) -> Value:
    said = w.text(element, name)
    text, fault = time_of_day(said)
    if not text:
        return Value(_AS_TEXT, leaf(said))
    if fault:
        w.find(fault, f"Observation.{name}")
    return Value("TM", text)


def _period(w: Writing, element: Json, name: str, owner: Json) -> Value:
    return Value("DR", range_of_times(*period(w, w.item(element, name), f"Observation.{name}")))


def _samples(w: Writing, element: Json, name: str, owner: Json) -> Value:
    """NA: the numbers of one channel. What the type cannot say (period, factor, limits) is not taken."""
    whole = w.item(element, name)
    data, origin = whole.get("data"), w.item(whole, "origin")
    points = data.split() if isinstance(data, str) else []
    plain = whole.get("dimensions") in (1, None) and whole.get("factor") in (1, None) and not origin.get("value")
    if not points or not plain or not all(_is_point(point) for point in points):
        return Value(_AS_TEXT, leaf(w.text(whole, "data")))
    measure = unit(w, origin, owner)
    w.skip(whole, "data", "dimensions", "factor", "_period")
    take_all(w, origin)
    return Value("NA", joined("" if point == "E" else point for point in points), measure)


def _is_point(text: str) -> bool:
    plain = text.removeprefix("-").replace(".", "", 1)
    return text == "E" or (plain.isascii() and plain.isdigit())


def _text_type(text: str) -> str:
    """ST for one short line, FT for more: TX has no line breaks within a repetition."""
    return "FT" if "\\.br\\" in text or len(text) > _LONGEST_ST else "ST"


#: HL7 2.5.1 chapter 2A.74: an ST has at most 199 characters.
_LONGEST_ST = 199

_PUTS: dict[str, Put] = {
    "valueQuantity": _quantity,
    "valueInteger": _integer,
    "valueRange": _range,
    "valueRatio": _ratio,
    "valueCodeableConcept": _concept,
    "valueBoolean": _boolean,
    "valueString": _string,
    "valueDateTime": _date_time,
    "valueTime": _time,
    "valuePeriod": _period,
    "valueSampledData": _samples,
}
