"""OBX as Observation: status, code, value, unit, range, flags, time, performers and notes of one result.

A status is never better than the message says, a value never comes with a reason for its absence, and every field of
a result is found in its own resource.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from orjson import dumps

from mappings.hl7v2_fhir.datatypes.attachments import embedded, pointed
from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.quantities import Unit, decimal, short_decimal, unit_extension
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.datatypes.values import Put, text_of
from mappings.hl7v2_fhir.ids import Scope
from mappings.hl7v2_fhir.reading import Reading, Row, members
from mappings.hl7v2_fhir.resources.collection import when_collected
from mappings.hl7v2_fhir.resources.pattern import Pattern, pattern_of
from mappings.hl7v2_fhir.resources.people import organization, practitioners, producer, role
from mappings.hl7v2_fhir.structure import SHORT, Result
from mappings.hl7v2_fhir.vocabulary import OWN, STANDARD, TERMINOLOGY, Json, absent, own_text

_QUANTITY = ',"valueQuantity":{"value":'
_VALUE = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
_DIRECTOR: Json = {"coding": [{"system": TERMINOLOGY + "v2-0912", "code": "MDIR"}]}
_RESPONSIBLE: Json = {
    "url": STANDARD + "event-performerFunction",
    "valueCodeableConcept": {
        "coding": [{"system": TERMINOLOGY + "v3-ParticipationType", "code": "RESP", "display": "responsible party"}]
    },
}

_QUANTITIES = frozenset({"valueQuantity", "valueRange", "valueRatio", "valueSampledData"})


class Setting:
    """What the results of one order share: the references and times that a result does not say itself."""

    __slots__ = (
        *("_members", "stamped", "attachments", "effective", "shared", "specimen", "specimens", "statuses", "subject"),
    )

    def __init__(self, subject: Json | None, encounter: Json | None) -> None:
        self.subject = subject
        self.shared: Json = {}
        if subject:
            self.shared["subject"] = subject
        if encounter:
            self.shared["encounter"] = encounter
        self.effective: Json = {}
        self.specimen: Json | None = None
        self.specimens: dict[int, Json] = {}
        self.attachments: list[Json] | None = None
        self.statuses: list[str] = []
        self._members: str | None = None
        self.stamped: dict[str, str] = {}

    @property
    def members(self) -> str:
        """What is shared, as JSON text: nobody may change it after the first result."""
        found = self._members
        if found is None:
            found = self._members = members(self.shared)
        return found

    def timed(self, reading: Reading, raw: str, number: int) -> str:
        """What is shared, and a result's own time (OBX-14), else what the order or its specimen says, as JSON text."""
        known = self.stamped.get(raw)
        if known is not None:
            return known
        found: Json = {}
        put_time(reading, found, "effectiveDateTime", raw, f"OBX[{number}]-14")
        text = self.members + members(found or self.effective)
        if "_effectiveDateTime" not in found:  # else each result reports it
            self.stamped[raw] = text
        return text


def observations(reading: Reading, results: Sequence[Result], setting: Setting, scope: Scope) -> list[Json]:
    """Write the Observations of one order, each named in its scope by its test and sub-id; references to them.

    The plain result, a number with nothing beside it, is nearly every one of a laboratory: it goes a short way.
    """
    made: list[Json] = []
    alone = setting.specimen is None and reading.plain_times
    for result in results:
        row = result.row
        pattern = pattern_of(reading, row)
        key = scope.stable(pattern.name)
        digits = short_decimal(row[5]) if alone and pattern.plain and len(row[5]) < 16 else ""
        if digits and len(row) == SHORT and not result.notes and not result.specimen:
            setting.statuses.append(pattern.status)
            timed = setting.stamped.get(row[14]) or setting.timed(reading, row[14], result.number)
            text = f"{pattern.members}{timed}{_QUANTITY}{digits}{pattern.quantity}}}"
            made.append(reading.put_observation(key, text, pattern.known))
        else:
            made.append(_observation(reading, result, setting, pattern, key))
    return made


def observation(reading: Reading, result: Result, setting: Setting, scope: Scope) -> Json:
    """Write one Observation, named in its scope by its test and sub-id; a reference to it."""
    return observations(reading, (result,), setting, scope)[0]


def _observation(reading: Reading, result: Result, setting: Setting, pattern: Pattern, key: str) -> Json:
    """Write an Observation of any kind of value, with whatever stands beside it."""
    row = result.row
    if pattern.said == "U" and not any(reading.text(value) for value in result.values):
        setting.statuses.append("final")
        return _finalise(reading, key, annotated(reading, result.notes))
    setting.statuses.append(pattern.status)
    timed = setting.timed(reading, row[14], result.number)
    for code, field, subject in pattern.findings:
        reading.find(code, f"OBX[{result.number}]-{field}", subject)
    found: Json = {}  # what is not text already
    extensions = list(pattern.extensions)
    value = _number(reading, pattern, row[5], extensions)
    if not value:
        _value(reading, found, result, pattern, extensions, setting)
    if len(row) > SHORT:
        if performers := _performers(reading, row):
            found["performer"] = performers
        _rest(reading, found, row, extensions, result.number)
    if result.notes and (notes := annotated(reading, result.notes)):
        found["note"] = notes
    if specimen := setting.specimens.get(result.specimen.number) if result.specimen else setting.specimen:
        found["specimen"] = specimen
        if not (setting.effective or reading.part(row[14])):
            found.update(when_collected(reading, specimen))
    if extensions:
        found["extension"] = extensions
    text = f"{pattern.members}{timed}{value}{members(found)}"
    return reading.put_observation(key, text, pattern.known)


def _finalise(reading: Reading, key: str, notes: list[Json]) -> Json:
    """Change the status of the stored Observation, never its value (JSON Patch, FHIR R4 3.1.0.4).

    The v2 code beside the status is replaced with it, and so are the notes where the message has some: `add` does so
    whether they are there or not.
    """
    url = f"Observation/{key}"
    if url not in reading.resources:
        patch = base64.b64encode(dumps(_FINAL + _added("note", notes))).decode()
        reading.count("Binary")
        binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": patch}
        reading.resources[url] = binary
        reading.entries[url] = {"resource": binary, "request": {"method": "PATCH", "url": url}}
    return {"reference": url}


def _added(name: str, value: Json | list[Json]) -> list[Json]:
    return [{"op": "add", "path": f"/{name}", "value": value}] if value else []


_FINAL: list[Json] = [
    {"op": "replace", "path": "/status", "value": "final"},
    *_added("_status", status_extension("U", "v2-0085", True)),
]


def _number(reading: Reading, pattern: Pattern, raw: str, extensions: list[Json]) -> str:
    """The quantity of one number as JSON text; "" when the result is anything else."""
    digits = decimal(raw.strip()) if pattern.numeric and reading.repetition not in raw else ""
    if not digits:
        return ""
    if pattern.unit.kept is not None:
        extensions.append(pattern.unit.kept)
    return f"{_QUANTITY}{digits}{pattern.quantity}}}"


def _value(
    reading: Reading, found: Json, result: Result, pattern: Pattern, extensions: list[Json], setting: Setting
) -> None:
    """Put what OBX-5 says into `found`, or why it says nothing."""
    if (put := pattern.put) is not None:
        raw = result.row[5]
        if reading.repetition in raw or raw == '""':
            _repeated(reading, found, result, put, pattern)
        elif raw:
            put(reading, found, raw, pattern.unit, result.number)
    elif pattern.document:
        _documents(reading, found, result, pattern, extensions, setting)
    elif text := text_of(reading, result.values):
        found["valueString"] = text
    if not found:
        found["dataAbsentReason"] = pattern.absent
    _keep_unit(found, pattern.unit, extensions)


def _repeated(reading: Reading, found: Json, result: Result, put: Put, pattern: Pattern) -> None:
    """Repetitions of a value that is no text become components, so that none is the only one."""
    parts: list[Json] = []
    for repetition in reading.repetitions(result.row[5]):
        part: Json = {}
        put(reading, part, repetition, pattern.unit, result.number)
        if part:
            parts.append(part)
    if len(parts) == 1:
        found.update(parts[0])
    elif parts:
        found["component"] = [{"code": pattern.code.concept, **part} for part in parts]


def _documents(
    reading: Reading, found: Json, result: Result, pattern: Pattern, extensions: list[Json], setting: Setting
) -> None:
    """ED and RP: the documents go to the report; without one they stay here as R5 has them."""
    title = pattern.code.concept.get("text", "")
    made = []
    for raw in reading.repetitions(result.values[0]):
        if pattern.kind == "ED":
            attachment, good = embedded(reading, raw, title)
        else:
            attachment, good = pointed(reading, raw, title), True
        if not good:
            reading.find("attachment_invalid", f"OBX[{result.number}]-5")
        if attachment:
            made.append(attachment)
    if not made:
        if text := text_of(reading, result.values):
            reading.find("attachment_invalid", f"OBX[{result.number}]-5")
            found["valueString"] = text
        return
    if setting.attachments is None:
        extensions += ({"url": _VALUE, "valueAttachment": attachment} for attachment in made)
        reason = "The value is a document in an extension of this resource"
    else:
        setting.attachments += made
        reason = "The value is a document in DiagnosticReport.presentedForm"
    found["dataAbsentReason"] = {**absent("unsupported"), "text": reason}


def _keep_unit(found: Json, unit: Unit, extensions: list[Json]) -> None:
    """Keep a unit whole where no quantity carries it, or carries less of it."""
    carried = not _QUANTITIES.isdisjoint(found) or any("valueQuantity" in part for part in found.get("component", ()))
    if unit.whole is not None and not carried:
        extensions.append(unit_extension(unit.whole))
    elif unit.kept is not None:
        extensions.append(unit.kept)


def _performers(reading: Reading, row: Row) -> list[Json]:
    """OBX-23 (else 15) the laboratory, OBX-25 its director there, OBX-16 who is responsible; remembered."""
    key = (row[15], row[16], row[23], row[24], row[25])
    found = reading.actors.get(key)
    if found is None:
        found = reading.actors[key] = _performing(reading, row)
    return found


def _performing(reading: Reading, row: Row) -> list[Json]:
    made = producer(reading, row[15])
    place = organization(reading, row[23], row[24]) if row[23] else None
    people = [{**person, "extension": [_RESPONSIBLE]} for person in practitioners(reading, row[16])]
    directors = [role(reading, person, place or made, _DIRECTOR) for person in practitioners(reading, row[25])]
    performers: list[Json] = []
    for actor in (place, made, *directors, *people):
        if actor and actor not in performers:
            performers.append(actor)
    return performers


def _rest(reading: Reading, found: Json, row: Row, extensions: list[Json], number: int) -> None:
    """The fields that few results have: method, device, analysis time, site, identifier, release."""
    if row[19]:
        extensions.append(_analysed(reading, row[19], number))
    if row[21] and (made := entity(reading, row[21], "FILL")):
        found["identifier"] = [made]
    if row[20] and (site := concept(reading, row[20].split(reading.repetition, 1)[0])):
        found["bodySite"] = site
    if row[17] and (methods := reading.dialect.cached(concepts, reading, row[17])):
        found["method"] = methods[0]
        extensions += ({"url": OWN + "v2-method", "valueCodeableConcept": more} for more in methods[1:])
    if row[18] and (device := entity(reading, row[18].split(reading.repetition, 1)[0])):
        found["device"] = {"identifier": device}
    extensions += (own_text("v2-release", text) for text in (reading.text(row[26]),) if text)
    if len(row) > _LATE:
        extensions += _late(reading, row)


#: The length of a row that has OBX-27: SHORT less _TIMED more than its own.
_LATE = SHORT + 12


def _late(reading: Reading, row: Row) -> list[Json]:
    """What came with 2.8 and later: root cause, local process control, and the type of what is observed."""
    row = [*row, "", "", "", ""]
    found = [{"url": OWN + "v2-root-cause", "valueCodeableConcept": said} for said in concepts(reading, row[27])]
    for said in concepts(reading, row[28]):
        found.append({"url": OWN + "v2-process-control", "valueCodeableConcept": said})
    for raw in row[29:31]:
        found += (own_text("v2-observation-type", text) for text in (reading.text(raw),) if text)
    return found


def _analysed(reading: Reading, raw: str, number: int) -> Json:
    """OBX-19, the time of the analysis; what is no time stays as text."""
    found: Json = {"url": STANDARD + "observation-analysis-date-time"}
    put_time(reading, found, "valueDateTime", raw, f"OBX[{number}]-19")
    if "valueDateTime" in found and "_valueDateTime" not in found:
        return found
    return own_text("v2-analysis-time", reading.text(raw))
