"""How a medication is to be given: amount, rate, timing, route, site and words, as Dosage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.quantities import composite, decimal
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.timing import Said, duration, of_tq, of_tq1, schedule
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.medication import amount
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import OWN, TERMINOLOGY, UCUM, Json, own_text

_DAY: Json = {"value": 1, "unit": "d", "system": UCUM, "code": "d"}


@dataclass(slots=True)
class Part:
    """One pharmacy segment with those that follow it and belong to it."""

    segment: Noted
    timings: list[Noted] = field(default_factory=list)
    routes: list[Noted] = field(default_factory=list)
    components: list[Noted] = field(default_factory=list)
    limits: list[Noted] = field(default_factory=list)


class Doses(NamedTuple):
    """The fields of a segment that say how much; 0 where it has none."""

    least: int
    most: int
    unit: int
    per: int
    rate: int = 0  # its unit stands in the field behind
    daily: int = 0
    text: int = 0
    timing: int = 0  # a TQ


DOSES: Mapping[str, Doses] = {
    "RXO": Doses(2, 3, 4, 17, 21, 23, text=7),
    "RXE": Doses(3, 4, 5, 22, 23, 19, text=7, timing=1),
    "RXG": Doses(5, 6, 7, 14, 15, text=9, timing=3),
    "RXD": Doses(0, 0, 0, 0, daily=12),
    "RXA": Doses(6, 0, 7, 12),
}


def dosages(reading: Reading, part: Part, old_timing: str) -> tuple[list[Json], list[str], str]:
    """Dosage for each timing, what of the timings is kept as text, and the priority.

    `old_timing` is ORC-7, the timing where neither the segment nor a TQ1 says one.
    """
    base = dose(reading, part)
    said = _timings(reading, part, old_timing)
    made: list[Json] = []
    left: list[str] = []
    priority = ""
    for one in said:
        found = schedule(reading, one)
        dosage = {**base}
        left += found.left
        priority = priority or found.priority
        if found.timing:
            dosage["timing"] = _at(found.timing) if part.segment.name == "RXG" else found.timing
        if found.condition:
            dosage["asNeededCodeableConcept"] = {"text": found.condition}
        elif found.as_needed:
            dosage["asNeededBoolean"] = True
        if found.text:
            dosage["patientInstruction"] = found.text
        if found.quantity and "doseAndRate" not in base:
            dosage["doseAndRate"] = [{"doseQuantity": found.quantity}]
        elif found.quantity:
            left.append(f"quantity {_shown(reading, one.quantity)}")
        if dosage:
            made.append({"sequence": len(made) + 1, **dosage} if len(said) > 1 else dosage)
    return made or ([base] if base else []), left, priority


def _at(timing: Json) -> Json:
    """The timing of one administration: a start alone is when it is due."""
    bounds = timing.get("repeat", {}).get("boundsPeriod", {})
    alone = timing.keys() == {"repeat"} and timing["repeat"].keys() == {"boundsPeriod"} and bounds.keys() == {"start"}
    return {"event": [bounds["start"]]} if alone else timing


def _timings(reading: Reading, part: Part, old_timing: str) -> list[Said]:
    if part.timings:
        return [of_tq1(reading, one.row, one.where) for one in part.timings]
    number = DOSES[part.segment.name].timing
    raw = part.segment.row[number] if number else ""
    if reading.component not in raw and reading.subcomponent not in raw:
        raw = ""  # a set number where newer versions have none
    return [of_tq(reading, one, part.segment.where) for one in reading.repetitions(raw or old_timing)]


def _shown(reading: Reading, raw: str) -> str:
    return " ".join(word for word in reading.texts(raw.replace(reading.subcomponent, reading.component), 1) if word)


def dose(reading: Reading, part: Part) -> Json:
    """What a segment says of every dose, without its timing."""
    row, fields = part.segment.row, DOSES[part.segment.name]
    found = route(reading, part.routes)
    if fields.text and (words := [said for one in concepts(reading, row[fields.text]) if (said := _text(one))]):
        found["text"] = "\n".join(words)
    if rate := _dose_and_rate(reading, part, fields):
        found["doseAndRate"] = [rate]
    if fields.daily and (most := composite(reading, row[fields.daily])):
        found["maxDosePerPeriod"] = {"numerator": most, "denominator": dict(_DAY)}
    elif fields.daily and (text := reading.text(row[fields.daily])):
        _keep(found, own_text("v2-daily-dose", text))
    for limit in part.limits:
        _limit(reading, found, limit)
    if fields.per:
        _per(reading, found, row[fields.per])
    if fields.rate and (rate_text := reading.part(row[fields.rate])) and not decimal(rate_text):
        unit = _shown(reading, row[fields.rate + 1])
        _keep(found, own_text("v2-rate", f"{rate_text} {unit}".strip()))
    return found


def _text(said: Json) -> str:
    return str(said.get("text") or said["coding"][0].get("display") or said["coding"][0]["code"])


def _keep(found: Json, extension: Json) -> None:
    found.setdefault("extension", []).append(extension)


def _dose_and_rate(reading: Reading, part: Part, fields: Doses) -> Json:
    """The least and the most to give; one amount where they are one, or only one is said."""
    row, where = part.segment.row, part.segment.where
    least = amount(reading, row[fields.least], row[fields.unit], f"{where}-{fields.least}") if fields.least else {}
    most = amount(reading, row[fields.most], row[fields.unit], f"{where}-{fields.most}") if fields.most else {}
    found: Json = {}
    if least and most and reading.part(row[fields.least]) != reading.part(row[fields.most]):
        found["doseRange"] = {"low": least, "high": most}
    elif most and not least:
        found["doseRange"] = {"high": most}
    elif least:
        found["doseQuantity"] = least
    if found and part.segment.name == "RXO":
        ordered = {"system": TERMINOLOGY + "dose-rate-type", "code": "ordered", "display": "Ordered"}
        found = {"type": {"coding": [ordered]}, **found}
    if fields.rate and decimal(reading.part(row[fields.rate])):
        found["rateQuantity"] = amount(reading, row[fields.rate], row[fields.rate + 1], f"{where}-{fields.rate}")
    return found


def _per(reading: Reading, found: Json, raw: str) -> None:
    """The time in which an amount is given, as the rate; as text where it is no duration or a rate is said."""
    if not reading.part(raw):
        return
    lasting = duration(reading, raw)
    rates = found.get("doseAndRate", [{}])
    if lasting and "doseQuantity" in rates[0] and "rateQuantity" not in rates[0]:
        rates[0]["rateRatio"] = {"numerator": rates[0]["doseQuantity"], "denominator": lasting}
    else:
        _keep(found, own_text("v2-rate", f"per {_shown(reading, raw)}"))


def _limit(reading: Reading, found: Json, cdo: Noted) -> None:
    """CDO: the most to give in a time."""
    most, lasting = composite(reading, cdo.row[3]), duration(reading, cdo.row[4])
    if most and lasting and "maxDosePerPeriod" not in found:
        found["maxDosePerPeriod"] = {"numerator": most, "denominator": lasting}
    else:
        text = f"{_shown(reading, cdo.row[3])} {_shown(reading, cdo.row[4])}".strip()
        _keep(found, own_text("v2-daily-dose", text))


def route(reading: Reading, routes: Sequence[Noted]) -> Json:
    """RXR; a second one is an alternative, and kept as one: as a Dosage of its own it would be a second dose."""
    found: Json = {}
    for rxr in routes:
        row = rxr.row
        one: Json = {
            "route": next(iter(suggested(reading, row[1], "0162")), None),
            "site": next(iter(suggested(reading, row[2], "0163")), None),
            "method": next(iter(suggested(reading, row[4], "0165")), None),
        }
        said = {name: value for name, value in one.items() if value}
        if "route" not in found and "site" not in found:
            found.update(said)
        elif said:
            _keep(found, own_text("v2-alternative-route", ", ".join(_text(value) for value in said.values())))
        if instruction := concept(reading, row[5]):
            found.setdefault("additionalInstruction", []).append(instruction)
        for device in concepts(reading, row[3]):
            _keep(found, {"url": OWN + "v2-administration-device", "valueCodeableConcept": device})
        for modifier in concepts(reading, row[6]):
            _keep(found, {"url": OWN + "v2-site-modifier", "valueCodeableConcept": modifier})
    return found
