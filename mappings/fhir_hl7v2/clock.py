"""FHIR dates and times as HL7 v2 time stamps: the same digits, the same precision, the offset that was stated.

Invariant: nothing is added, rounded or moved to another zone. Sources: FHIR R4 2.24.0.1 (dateTime), HL7 2.5.1
chapter 2A.22 (DTM: `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from mappings.fhir_hl7v2.leaves import leaf
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import OWN

_STAMP = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d+))?", re.ASCII)
_KEPT = re.compile(r"[0-9]{4,14}(?:\.[0-9]{1,4})?(?:[+-][0-9]{4})?", re.ASCII)
_FRACTION = 4
_ORIGINAL = OWN + "v2-time"


def stamp(w: Writing, element: Json, name: str, where: str) -> str:
    """A date, dateTime or instant as a TS; the original v2 time that stands beside it where it had to be cut."""
    kept = original(w, element, name)
    text = w.text(element, name)
    if kept:
        return kept
    if not text:
        return ""
    written, fault = read_stamp(text)
    if fault:
        w.find(fault, where)
    return written


def original(w: Writing, element: Json, name: str) -> str:
    """The v2 time that a conversion to FHIR kept beside a time that FHIR cannot hold; "" when there is none."""
    for extension in w.extension(w.beside(element, name), _ORIGINAL):
        text = w.text(extension, "valueString")
        if _KEPT.fullmatch(text):
            return text
        w.find("time_invalid", name)
    return ""


def read_stamp(text: str) -> tuple[str, str]:
    """A v2 time of a FHIR one ("" when it is none) and the code of what is wrong ("" when nothing is)."""
    match = _STAMP.fullmatch(text)
    if not match:
        return "", "time_invalid"
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    if not _possible(year, month, day) or (hour and (hour > "23" or minute > "59" or second > "60")):
        return "", "time_invalid"
    digits = year + (month or "") + (day or "") + (hour or "") + (minute or "") + (second or "")
    if not hour:
        return digits, ""
    return digits + _cut(fraction) + _offset(offset), _finer(fraction)


def time_of_day(text: str) -> tuple[str, str]:
    """A v2 TM of a FHIR time, and the code of what is wrong."""
    match = _TIME.fullmatch(text)
    if not match or match[1] > "23" or match[2] > "59" or match[3] > "60":
        return "", "time_invalid"
    return match[1] + match[2] + match[3] + _cut(match[4]), _finer(match[4])


def period(w: Writing, element: Json, where: str) -> tuple[str, str]:
    """Start and end of a Period."""
    return stamp(w, element, "start", where + ".start"), stamp(w, element, "end", where + ".end")


def choice(w: Writing, element: Json, name: str, where: str) -> tuple[str, str]:
    """Start and end of an element that is a dateTime, an instant or a Period; a moment has no end."""
    for kind in ("DateTime", "Instant"):
        if written := stamp(w, element, name + kind, f"{where}.{name}"):
            return written, ""
    return period(w, w.item(element, name + "Period"), f"{where}.{name}")


def range_of_times(start: str, end: str) -> str:
    """A DR."""
    return f"{leaf(start)}^{leaf(end)}" if end else leaf(start)


def received(w: Writing) -> str:
    """When the engine took the message, in the channel's zone."""
    zone = ZoneInfo(w.context.timezone) if w.context.timezone else UTC
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=w.context.received_at)).astimezone(zone)
    return moment.strftime("%Y%m%d%H%M%S%z")


def _possible(year: str, month: str | None, day: str | None) -> bool:
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return False
    return True


def _cut(fraction: str | None) -> str:
    return f".{fraction[:_FRACTION]}" if fraction else ""


def _finer(fraction: str | None) -> str:
    return "time_precision" if fraction and fraction[_FRACTION:].strip("0") else ""


def _offset(offset: str) -> str:
    return "+0000" if offset in ("Z", "-00:00") else offset.replace(":", "")
