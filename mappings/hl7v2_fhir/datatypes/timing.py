"""TQ1, and TQ of the versions before it, as Timing: how often, from when to when, for how long, under which condition.

A Timing holds only what the message says in a way that means one thing; every other pattern or duration stays as text
beside it, and is reported. What the tables `repeat-pattern`, `event-timing` and `time-units` hold is looked up there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orjson import dumps

from mappings.hl7v2_fhir.clock import time_of_day
from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.quantities import composite, number, whole
from mappings.hl7v2_fhir.datatypes.repetition import LETTERS, repetition, together, without_prn
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.vocabulary import (
    REPEAT_PATTERN,
    TERMINOLOGY,
    TIME_UNITS,
    UCUM,
    Json,
)

_DURATION = re.compile(r"([SMHDWL])(\d+)")
_OF_TABLE_0335 = frozenset({"QAM", "QPM", "QHS", "QSHIFT", "C"})
"""Codes of the table that stand in it as they are: Q8H is one of a pattern, and no code of its code system."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}


@dataclass(slots=True)
class Said:
    """One TQ1 or TQ, raw: quantities with components, each pattern as the eleven parts of an RPT."""

    where: str
    quantity: str = ""
    patterns: list[list[str]] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    relative: str = ""
    duration: str = ""
    start: str = ""
    end: str = ""
    priority: str = ""
    condition: str = ""
    text: str = ""
    conjunction: str = ""
    occurrence: str = ""
    total: str = ""


@dataclass(slots=True)
class Schedule:
    """What one TQ1 or TQ comes to. `left` is what FHIR has no element for, as text."""

    timing: Json = field(default_factory=dict)
    as_needed: bool = False
    condition: str = ""
    quantity: Json = field(default_factory=dict)
    priority: str = ""
    text: str = ""
    left: list[str] = field(default_factory=list)


def of_tq1(reading: Reading, row: Row, where: str) -> Said:
    """TQ1."""
    return Said(
        where=where,
        quantity=row[2],
        patterns=[reading.parts(raw, 11) for raw in reading.repetitions(row[3])],
        times=[reading.part(raw) for raw in reading.repetitions(row[4])],
        relative=row[5],
        duration=row[6],
        start=row[7],
        end=row[8],
        priority=row[9],
        condition=row[10],
        text=row[11],
        conjunction=row[12],
        occurrence=row[13],
        total=row[14],
    )


def of_tq(reading: Reading, raw: str, where: str) -> Said:
    """One repetition of a TQ (ORC-7, OBR-27, RXE-1, RXG-3): its subcomponents are the components of a TQ1 field."""
    parts = reading.parts(raw, 12)
    inner = [part.replace(reading.subcomponent, reading.component) for part in parts]
    pattern, _, times = parts[1].partition(reading.subcomponent)
    return Said(
        where=where,
        quantity=inner[0],
        patterns=[[pattern, *[""] * 10]] if pattern else [],
        times=[reading.text(part) for part in re.split("[, ]", times) if part],
        duration=inner[2],
        start=inner[3],
        end=inner[4],
        priority=inner[5],
        condition=inner[6],
        text=inner[7],
        conjunction=inner[8],
        occurrence=inner[10],
        total=inner[11],
    )


def schedule(reading: Reading, said: Said) -> Schedule:
    """Everything that a TQ1 or TQ says."""
    found = Schedule(
        quantity=composite(reading, said.quantity) if said.quantity else {},
        priority=said.priority,
        condition=_words(reading, said.condition),
        text=_words(reading, said.text),
    )
    repeat: Json = {}
    _bounds(reading, said, repeat, found)
    _patterns(reading, said, repeat, found)
    _explicit_times(said, repeat, found)
    _count(reading, said, repeat)
    _occurrence(reading, said, repeat, found)
    if conjunction := reading.part(said.conjunction):
        found.left.append(f"conjunction {conjunction}")
    if said.quantity and not found.quantity and (amount := _words(reading, said.quantity)):
        found.left.append(f"quantity {amount}")
    if repeat:
        found.timing = {"repeat": repeat, **found.timing}
    if found.left:
        reading.find("timing_kept", said.where)
    return found


def duration(reading: Reading, raw: str) -> Json | None:
    """A number and a unit of time as Duration (drt-1 wants a UCUM unit of time); None when it is anything else."""
    parts = reading.texts(raw, 2)
    if match := _DURATION.fullmatch(parts[0].upper()):
        return _lasting(match[2], LETTERS[match[1]])
    words = parts[0].split()
    amount, unit = (words[0], words[1]) if len(words) == 2 and not parts[1] else (parts[0], parts[1])
    code = TIME_UNITS.get(unit.split(reading.subcomponent, 1)[0].casefold())
    return _lasting(amount, code) if code else None


def _lasting(amount: str, code: str) -> Json | None:
    value = number(amount)
    return {"value": value, "unit": code, "system": UCUM, "code": code} if value is not None else None


def _words(reading: Reading, raw: str) -> str:
    """A field as text: its components with a space between, its repetitions as lines."""
    return "\n".join(
        text for part in reading.repetitions(raw) if (text := " ".join(word for word in reading.texts(part, 1) if word))
    )


def _bounds(reading: Reading, said: Said, repeat: Json, found: Schedule) -> None:
    """From when to when; where only one end is said, the duration stands for itself beside it as text."""
    period: Json = {}
    put_time(reading, period, "start", said.start, said.where)
    put_time(reading, period, "end", said.end, said.where)
    lasting = duration(reading, said.duration) if reading.part(said.duration) else None
    if period:
        repeat["boundsPeriod"] = period
    elif lasting:
        repeat["boundsDuration"] = lasting
    if lasting and period.keys() == {"start"} and (end := _end(str(period["start"]), lasting)):
        period["end"] = end
        return
    times = re.fullmatch(r"X(\d+)", reading.part(said.duration))
    if times and (count := whole(times[1], 1)):
        repeat["count"] = count
    elif (text := _words(reading, said.duration)) and (period or not lasting):
        found.left.append(f"duration {text}")


_LONGEST_DIGITS = 5
"""Of a duration whose end is reckoned: no longer one is meant."""


def _end(start: str, lasting: Json) -> str:
    """Start and duration as an end (IG: TQ1-6), where the start is a full time and the unit has a fixed length."""
    seconds = _SECONDS.get(lasting["code"])
    digits = dumps(lasting["value"]).decode()
    if seconds is None or "T" not in start or not digits.isdigit() or len(digits) > _LONGEST_DIGITS:
        return ""
    return (datetime.fromisoformat(start) + timedelta(seconds=int(digits) * seconds)).isoformat()


def _count(reading: Reading, said: Said, repeat: Json) -> None:
    text = reading.part(said.total)
    if count := whole(text, 1):
        repeat["count"] = count
    elif text:
        reading.find("number_invalid", said.where)


def _occurrence(reading: Reading, said: Said, repeat: Json, found: Schedule) -> None:
    """How long one occurrence lasts, and the time from the event before."""
    if reading.part(said.occurrence):
        lasting = duration(reading, said.occurrence)
        if lasting:
            repeat["duration"], repeat["durationUnit"] = lasting["value"], lasting["code"]
        else:
            found.left.append(f"lasting {_words(reading, said.occurrence)}")
    if reading.part(said.relative):
        found.left.append(f"after {_words(reading, said.relative)}")


def _explicit_times(said: Said, repeat: Json, found: Schedule) -> None:
    """Times of day; not beside an event of the day (tim-10)."""
    times = [time_of_day(text) for text in said.times]
    if times and all(times) and "when" not in repeat:
        repeat["timeOfDay"] = times
    elif said.times:
        found.left.append("at " + ", ".join(said.times))


def _patterns(reading: Reading, said: Said, repeat: Json, found: Schedule) -> None:
    """The patterns: the code of each, and the repetition where they say one thing together."""
    codes: list[Json] = []
    repeats: list[Json] = []
    for parts in said.patterns:
        code, needed = without_prn(reading.text(parts[0].split(reading.subcomponent, 1)[0]))
        found.as_needed = found.as_needed or needed
        if made := _code(reading, parts[0], code):
            codes.append(made)
        meant = repetition(reading, parts, code)
        repeats.append(meant)
        if not meant and not (needed and not code) and len(said.patterns) == 1:
            _keep_pattern(reading, parts, found)
    if codes:
        found.timing["code"] = codes[0] if len(codes) == 1 else {"text": " ".join(_shown(code) for code in codes)}
    if repeats and all(repeats) and (joined := together(repeats)):
        repeat.update(joined)
    elif len(repeats) > 1:
        found.left.append("pattern " + " ".join(_shown(code) for code in codes))


def _keep_pattern(reading: Reading, parts: list[str], found: Schedule) -> None:
    """What of a pattern is more than its code, which stands in Timing.code."""
    if words := " ".join(text for part in parts[1:] if (text := reading.text(part))):
        found.left.append(f"pattern {words}")


def _code(reading: Reading, raw: str, code: str) -> Json | None:
    """Timing.code: FHIR's own code where the table has one, the sender's beside it."""
    said = concept(reading, raw.replace(reading.subcomponent, reading.component))
    if said is None:
        return None
    known = REPEAT_PATTERN.get(code.upper())
    codings = said.get("coding", [])
    if known:
        return {**said, "coding": [known, *(one for one in codings if "system" in one)]}
    if codings and "system" not in codings[0]:
        if " " in codings[0]["code"]:
            return {"text": said.get("text", codings[0]["code"])}
        if code.upper() in _OF_TABLE_0335:
            codings[0] = {"system": TERMINOLOGY + "v2-0335", **codings[0]}
    return said


def _shown(code: Json) -> str:
    return str(code.get("text") or code["coding"][0].get("display") or code["coding"][0]["code"])
