"""AIS, AIP, AIL, AIG and RGS: the services of an appointment, and who, where and with what.

A segment whose action is D takes its resource out of the appointment: it is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.identifiers import system
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.resources.appointment import booking_of, duration
from mappings.hl7v2_fhir.resources.location import location
from mappings.hl7v2_fhir.resources.people import practitioners
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import OWN, Json, codes_of

PARTICIPATION = codes_of("participation-status")
KINDS = codes_of("appointment-resource")
_REMOVED = "D"

Actors = Callable[[Reading, Row], list[Json]]


def group(reading: Reading, detail: Noted) -> None:
    """RGS: its notes are the appointment's."""
    if booking := booking_of(reading):
        booking.comment(detail.take_notes())


def service(reading: Reading, detail: Noted) -> None:
    """AIS: what the appointment is for."""
    row, booking = detail.row, booking_of(reading)
    if booking is None:
        return
    booking.comment(detail.take_notes())
    if reading.part(row[2]) == _REMOVED:
        return
    if services := concepts(reading, row[3]):
        known = booking.found.setdefault("serviceType", [])
        known += [one for one in services if one not in known]
    booking.extend(
        [
            {"url": OWN + "v2-service-information", "valueCodeableConcept": one}
            for field in (11, 12)
            for one in concepts(reading, row[field])
        ]
    )
    if status := reading.part(row[10]):
        booking.statuses.append(status)
    booking.add_time({}, row[4], duration(reading, row[7], row[8]), detail.where + "-4")


def _resource(actors: Actors, kind: int, start: int, status: int) -> Callable[[Reading, Noted], None]:
    """The builder of AIP, AIL or AIG: who it names, and where its kind, start and status stand."""

    def build(reading: Reading, detail: Noted) -> None:
        row, booking = detail.row, booking_of(reading)
        if booking is None:
            return
        booking.comment(detail.take_notes())
        if reading.part(row[2]) == _REMOVED:
            return
        kinds = concepts(reading, row[kind])
        period: Json = {}
        booking.add_time(
            period, row[start], duration(reading, row[start + 3], row[start + 4]), f"{detail.where}-{start}"
        )
        for actor in actors(reading, row) or ([{}] if kinds else []):
            one = compact({"type": kinds, "actor": actor, "period": period})
            _status(reading, one, reading.part(row[status]), f"{detail.where}-{status}")
            booking.participants.append(one)

    return build


def _status(reading: Reading, one: Json, said: str, where: str) -> None:
    if not said:
        return
    if status := PARTICIPATION.get(said) or PARTICIPATION.get(said.capitalize()):
        one["status"] = status
    else:
        reading.find("code_unknown", where)


def _people(reading: Reading, row: Row) -> list[Json]:
    return practitioners(reading, row[3])


def _places(reading: Reading, row: Row) -> list[Json]:
    return [place for raw in reading.repetitions(row[3]) if (place := location(reading, raw))]


def _things(reading: Reading, row: Row) -> list[Json]:
    """AIG-3: a device, unless AIG-4 says that it is a person or a place."""
    made = []
    words = [word.upper() for word in reading.texts(row[4], 2)[:2]]
    kind = next((found for word in words if (found := KINDS.get(word))), "Device")
    for raw in reading.repetitions(row[3]):
        code, text = reading.parts(raw, 2)[:2]
        if kind == "Practitioner":
            made += practitioners(reading, reading.component.join((code, text)))
        elif kind == "Location":
            place = location(reading, reading.component.join((code, *[""] * 7, text)))
            made += [place] if place else []
        elif device := _device(reading, raw, row[4]):
            made.append(device)
    return made


def _device(reading: Reading, raw: str, kind: str) -> Json | None:
    said = concept(reading, raw)
    if said is None:
        return None
    coding = said.get("coding", [{}])[0]
    authority = coding.get("system") or system(reading, "")
    name = said.get("text", "")
    found: Json = {
        "resourceType": "Device",
        "id": stable("Device", authority, coding.get("code", "") or name),
        "identifier": [{"system": authority, "value": coding["code"]}] if "code" in coding else [],
        "deviceName": [{"name": name, "type": "user-friendly-name"}] if name else [],
        "type": concept(reading, kind.split(reading.repetition, 1)[0]),
    }
    return reading.put(compact(found))


BUILDERS: Mapping[str, Callable[[Reading, Noted], None]] = {
    "RGS": group,
    "AIS": service,
    "AIP": _resource(_people, kind=4, start=6, status=12),
    "AIL": _resource(_places, kind=4, start=6, status=12),
    "AIG": _resource(_things, kind=4, start=8, status=14),
}
"""By segment."""
