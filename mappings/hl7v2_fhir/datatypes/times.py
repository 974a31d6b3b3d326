"""TS, DTM, DT, TM and DR as FHIR dates and times, with the precision they came in.

What FHIR cannot hold (no offset, an hour without minutes, an impossible day) is reported, and the original is kept in
an extension beside the element.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.clock import ends_before, plain_stamp, read_day, read_stamp
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import Json, own_text

_EXTENSION = "v2-time"


def put_time(reading: Reading, target: Json, name: str, raw: str, where: str) -> None:
    """Write a dateTime element; what FHIR cannot hold is reported and kept in an extension of the element."""
    if not raw or raw == '""':
        return
    value, fault = reading.times.get(raw) or read_time(reading, raw)
    if value:
        target[name] = value
    if fault:
        reading.find(fault, where)
        target["_" + name] = {"extension": [own_text(_EXTENSION, reading.text(raw))]}


def put_period(reading: Reading, target: Json, name: str, start: str, end: str, where: str) -> None:
    """Write a Period of two raw times, when one of them says something; an end before its start is kept beside it."""
    period: Json = {}
    put_time(reading, period, "start", start, where)
    put_time(reading, period, "end", end, where)
    if ends_before(period.get("start", ""), period.get("end", "")):
        reading.find("time_invalid", where)
        del period["end"]
        period["_end"] = {"extension": [own_text(_EXTENSION, reading.text(end))]}
    if period:
        target[name] = period


def put_date(reading: Reading, target: Json, name: str, raw: str, where: str) -> None:
    """Write a date element: the day, and no more, of a time stamp."""
    text = reading.part(raw)
    if not text:
        return
    value, fault = read_day(text)
    if value:
        target[name] = value
    if fault:
        reading.find(fault, where)
        target["_" + name] = {"extension": [own_text(_EXTENSION, text)]}


def instant(reading: Reading, raw: str) -> str:
    """An instant, "" when the time is less than that (no seconds, no offset, not a time)."""
    value, fault = reading.times.get(raw) or read_time(reading, raw)
    seconds = len(raw) >= 14 and raw[:14].isdigit()
    return value if seconds and not fault else ""


def read_time(reading: Reading, raw: str) -> tuple[str, str]:
    """A dateTime ("" when there is none) and the code of what is wrong ("" when nothing is); remembered."""
    if plain := plain_stamp(raw, reading.message_offset, reading.zone) if reading.plain_times else "":
        found = reading.times[raw] = (plain, "")
        return found
    text = reading.part(raw)
    if not text:
        return "", ""
    found = reading.times[raw] = read_stamp(text, reading.message_offset, reading.zone)
    return found
