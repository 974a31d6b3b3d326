"""Repeat patterns (RPT, HL7 tables 0335 and 0528) as members of Timing.repeat: only those that mean one thing."""

from __future__ import annotations

import re

from mappings.hl7v2_fhir.datatypes.quantities import LARGEST, number, whole
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import EVENT_TIMING, TIME_UNITS, Json

LETTERS = {"S": "s", "M": "min", "H": "h", "D": "d", "W": "wk", "L": "mo"}
"""The time units of HL7 table 0335; L is a lunar month."""
_EVERY = re.compile(r"Q(\d+)([SMHDWL])")
_ON_DAYS = re.compile(r"Q(\d*)J([1-7]+)")
_A_DAY = re.compile(r"([1-9]\d?)ID|X([1-9]\d?)")
_TIMES_A_DAY = {"QD": 1, "DAILY": 1, "BID": 2, "TID": 3, "QSHIFT": 3, "QID": 4}
_WEEK = frozenset("1234567")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES = {"min": 1, "h": 60, "d": 1440}


def without_prn(code: str) -> tuple[str, bool]:
    """The pattern without PRN, and whether it was there: PRN, PRNQ4H, Q4H PRN."""
    upper = code.upper()
    if upper.startswith("PRN"):
        return code[3:].strip(), True
    if upper.endswith(" PRN"):
        return code[:-4].strip(), True
    return code, False


def repetition(reading: Reading, parts: list[str], code: str) -> Json:
    """What a pattern says as members of Timing.repeat; {} when that is not certain."""
    found = _repeated(code)
    if not found and code and code.upper() != "C":
        return {}
    if any(reading.text(part) for part in parts[1:]):
        extra = _phase(reading, parts)
        if extra is None:
            return {}
        found = {**found, **extra}
    return found


def _repeated(code: str) -> Json:
    """A code of HL7 tables 0335 and 0528."""
    upper = code.upper()
    if match := _EVERY.fullmatch(upper):
        return _every(match[1], LETTERS[match[2]])
    if match := _ON_DAYS.fullmatch(upper):
        days = [_DAYS[int(day) - 1] for day in match[2]]
        return {**_every(match[1] or "1", "wk"), "dayOfWeek": days}
    if upper == "QOD":
        return _every("2", "d")
    if upper == "ONCE":
        return {"count": 1}
    if event := EVENT_TIMING.get(upper):
        return {"when": [event]}
    match = _A_DAY.fullmatch(upper)
    times = _TIMES_A_DAY.get(upper) or (int(match[1] or match[2]) if match else 0)
    return {"frequency": times, "period": 1, "periodUnit": "d"} if times else {}


def _every(period: str, unit: str) -> Json:
    number = whole(period, 1)
    return {"frequency": 1, "period": number, "periodUnit": unit} if number else {}


def _phase(reading: Reading, parts: list[str]) -> Json | None:
    """RPT-2 to 11: days of the week, a period, an event and the time from it; None when something is left over."""
    _, alignment, begin, end, period, unit, institution, event, offset, offset_unit, general = (
        reading.text(part.split(reading.subcomponent, 1)[0]) for part in parts[:11]
    )
    found: Json = {}
    if alignment == "DW" and begin in _WEEK and (end or begin) in _WEEK:
        first, last = int(begin), int(end or begin)
        found["dayOfWeek"] = [_DAYS[day - 1] for day in range(first, last + 1)]
    elif alignment or begin or end:
        return None
    if period:
        value, code = number(period), TIME_UNITS.get(unit.casefold())
        if value is None or code is None:
            return None
        found.update({"frequency": 1, "period": value, "periodUnit": code})
    if event and event.upper() not in EVENT_TIMING:
        return None
    if event:
        found["when"] = [EVENT_TIMING[event.upper()]]
    if offset:
        minutes = _MINUTES.get(TIME_UNITS.get(offset_unit.casefold(), ""))
        if not (event and minutes and offset.isascii() and offset.isdigit()):
            return None
        if (count := whole(offset)) is None or count * minutes > LARGEST:
            return None
        found["offset"] = count * minutes
    return None if institution or general else found


def together(repeats: list[Json]) -> Json:
    """Several patterns as one: events of the same day join; anything else means more than one Timing can hold."""
    if len(repeats) == 1:
        return repeats[0]
    if all(set(one) == {"when"} for one in repeats):
        return {"when": [event for one in repeats for event in one["when"]]}
    return {}
