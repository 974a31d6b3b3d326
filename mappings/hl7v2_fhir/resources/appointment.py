"""SCH as Appointment: which booking, how it stands, when, why; AIS its services, the others in appointment_people.py.

FHIR wants of a booked appointment a start and an end, and HL7 v2 may say them in five places: they are settled when the
whole message has been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.instants import later, moment
from mappings.hl7v2_fhir.resources.people import practitioners, role
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import OWN, STANDARD, TERMINOLOGY, Json, absent_extension, codes_of, own_text

STATUS = codes_of("appointment-status")
EVENT = codes_of("appointment-event")
UNITS = codes_of("time-units")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_DECIDED = frozenset({"S15", "S16", "S17", "S26"})
"""Events that say the status whatever SCH-25 says."""
_EXACT = frozenset({"Pending", "Waitlist", "Booked", "Complete", "Cancelled", "Deleted", "Noshow"})
_UNDATED = frozenset({"proposed", "cancelled", "waitlist"})  # app-3
_AGREED = frozenset({"booked", "arrived", "fulfilled", "checked-in", "noshow", "cancelled", "entered-in-error"})
_STYLES = frozenset({"CHECKUP", "EMERGENCY", "FOLLOWUP", "ROUTINE", "WALKIN"})  # HL7 0276
_VISIT = {
    "booked": "planned",
    "pending": "planned",
    "waitlist": "planned",
    "cancelled": "cancelled",
    "noshow": "cancelled",
    "entered-in-error": "entered-in-error",
}
_CONTACTS = ((12, 13, "Placer contact"), (16, 17, "Filler contact"), (20, 21, "Entered by"))


class Booking:
    """One appointment while its segments are read."""

    def __init__(self, reading: Reading, row: Row, where: str) -> None:
        self.reading = reading
        self.row = row
        self.where = where
        self.found: Json = {"resourceType": "Appointment", "id": _identity(reading, row)}
        self.statuses: list[str] = []  # AIS-10
        self.times: list[tuple[str, timedelta | None]] = []  # start and duration of services and resources
        self.found["participant"] = self.participants = list[Json]()

    def add_time(self, target: Json, raw: str, length: timedelta | None, where: str) -> None:
        """When a service or resource is wanted, as a period, and as what the appointment's own times may follow."""
        if moment(self.reading, target, "start", raw, where):
            self.times.append((target["start"], length))
            if length and (end := later(target["start"], length)):
                target["end"] = end

    def comment(self, rows: Sequence[Row]) -> None:
        """Notes are the comment; what is more than text stays a note."""
        for note in annotated(self.reading, rows):
            if len(note) == 1:
                before = self.found.get("comment")
                self.found["comment"] = f"{before}\n{note['text']}" if before else note["text"]
            else:
                self.extend([{"url": STANDARD + "note", "valueAnnotation": note}])

    def extend(self, extensions: Sequence[Json]) -> None:
        """Add extensions."""
        if extensions:
            self.found.setdefault("extension", []).extend(extensions)

    def finish(self) -> None:
        """What only the whole message says: status, times, and whether who takes part has agreed."""
        self._status()
        self._times()
        patients = [url for url in self.reading.resources if url.startswith("Patient/")]
        self.participants[:0] = ({"actor": {"reference": url}} for url in patients)
        status = self.found.get("status", "")
        for one in self.participants:
            one.setdefault("status", "accepted" if status in _AGREED else "needs-action")
        if not self.participants:
            self.participants.append({"type": [{"text": "unknown"}], "status": "needs-action"})
        self._visit(status)

    def _status(self) -> None:
        """The event where it decides, else SCH-25, else AIS-10 where all say one, else the event."""
        reading, found = self.reading, self.found
        event = reading.texts(reading.header[9], 2)[1]
        said = reading.part(self.row[25])
        said = _cased(said or (self.statuses[0] if len(set(self.statuses)) == 1 else ""))
        status = (EVENT.get(event) if event in _DECIDED else "") or STATUS.get(said) or EVENT.get(event)
        if status:
            found["status"] = status
        else:
            reading.find("status_missing", self.where + "-25")
        if said and said not in _EXACT:
            known = said in STATUS or said == "Blocked"
            found["_status"] = status_extension(said, "v2-0278", known)
            if not known:
                reading.find("status_unknown", self.where + "-25")
        elif not status:
            found["_status"] = {"extension": [absent_extension("unknown")]}
        reason = concept(reading, self.row[6].split(reading.repetition, 1)[0])
        if reason and status in ("cancelled", "noshow"):
            found["cancelationReason"] = reason
        elif reason:
            self.extend([{"url": OWN + "v2-event-reason", "valueCodeableConcept": reason}])

    def _times(self) -> None:
        """TQ1 has been taken; then SCH-11, then from the first service or resource to the last."""
        reading, found = self.reading, self.found
        length = duration(reading, self.row[9], self.row[10])
        self._duration(length)
        parts = [part.split(reading.subcomponent, 1)[0] for part in reading.parts(self.row[11], 5)]
        if "start" not in found and moment(reading, found, "start", parts[3], self.where + "-11"):
            moment(reading, found, "end", parts[4], self.where + "-11")
        if "start" not in found and self.times:
            found["start"] = min((start for start, _ in self.times), key=datetime.fromisoformat)
            found.pop("_start", None)
        if "start" in found and "end" not in found:
            ends = (
                [later(found["start"], length)] if length else [later(start, one) for start, one in self.times if one]
            )
            if ends := [end for end in ends if end]:
                found["end"] = max(ends, key=datetime.fromisoformat)
        if found.get("status") not in _UNDATED or {"start", "end"} & found.keys():
            for name in ("start", "end"):
                if name not in found:
                    beside = found.setdefault("_" + name, {}).setdefault("extension", [])
                    beside.append(absent_extension("unknown"))

    def _duration(self, length: timedelta | None) -> None:
        """SCH-9 in whole minutes; anything else as it came."""
        reading, row = self.reading, self.row
        seconds = int(length.total_seconds()) if length else 0
        if seconds and seconds % 60 == 0:
            self.found["minutesDuration"] = seconds // 60
        elif text := " ".join(part for part in (reading.part(row[9]), reading.part(row[10])) if part):
            self.extend([own_text("v2-duration", text)])

    def _visit(self, status: str) -> None:
        """An outpatient visit that is only booked has not begun."""
        visit = self.reading.resources.get(self.reading.around.get("encounter", {}).get("reference", ""))
        if visit and visit["class"].get("code") in ("AMB", "PRENC") and visit["status"] in ("in-progress", "planned"):
            visit["status"] = _VISIT.get(status, visit["status"])
            for place in visit.get("location", ()):
                place["status"] = "planned"
            visit["appointment"] = [{"reference": "Appointment/" + self.found["id"]}]


def _cased(said: str) -> str:
    """A code of HL7 table 0278, which senders write in any case."""
    return said.capitalize() if said.capitalize() in STATUS else said


def _identity(reading: Reading, row: Row) -> str:
    """The filler's number, else the placer's, with the occurrence; without either the message."""
    number = entity(reading, row[2], "FILL") or entity(reading, row[1], "PLAC")
    if number:
        return stable("Appointment", number["system"], number["value"], reading.part(row[3]))
    reading.find("appointment_without_number", "SCH-2")
    return stable("Appointment", reading.numbered(JOIN.join((reading.sender, reading.own_name))))


def duration(reading: Reading, amount: str, unit: str) -> timedelta | None:
    """An amount of time with its unit, which may stand behind the amount; None without a unit: none is guessed."""
    said, inside = reading.texts(amount.split(reading.repetition, 1)[0], 2)[:2]
    name = UNITS.get((reading.part(unit) or inside).casefold(), "")
    if name not in _SECONDS or not said.isascii() or not said.isdigit() or len(said) > 9 or not int(said):
        return None
    return timedelta(seconds=int(said) * _SECONDS[name])


def booking_of(reading: Reading) -> Booking | None:
    """The appointment that the segments are about."""
    found = reading.unfinished[-1] if reading.unfinished else None
    return found if isinstance(found, Booking) else None


def appointment(reading: Reading, detail: Noted) -> None:
    """SCH."""
    row = detail.row
    booking = Booking(reading, row, detail.where)
    found = booking.found
    numbers = (entity(reading, row[1], "PLAC"), entity(reading, row[2], "FILL"), entity(reading, row[4], "PGN"))
    if said := [number for number in numbers if number]:
        found["identifier"] = said
    if occurrence := reading.part(row[3]):
        booking.extend([own_text("v2-occurrence", occurrence)])
    booking.extend([{"url": OWN + "v2-schedule", "valueCodeableConcept": one} for one in concepts(reading, row[5])])
    _reasons(reading, found, row)
    _related(reading, found, row)
    for person, phone, name in _CONTACTS:
        for who in practitioners(reading, row[person]):
            actor = role(reading, who, None, {"text": name}, row[phone]) if row[phone] else who
            kind = {"text": name}
            booking.participants.append({"type": [kind], "actor": actor, "required": "information-only"})
    booking.comment(detail.take_notes())
    reading.put(found)
    reading.unfinished.append(booking)


def _reasons(reading: Reading, found: Json, row: Row) -> None:
    """SCH-7 is the reason; where it is one of HL7 0276 and SCH-8 is empty, it is the type as well."""
    if reasons := suggested(reading, row[7], "0276"):
        found["reasonCode"] = reasons
    style = reading.part(row[7]).upper()
    if kinds := suggested(reading, row[8], "0277"):
        found["appointmentType"] = kinds[0]
    elif style in _STYLES:
        found["appointmentType"] = {"coding": [{"system": TERMINOLOGY + "v2-0276", "code": style}]}


def _related(reading: Reading, found: Json, row: Row) -> None:
    """SCH-26 and 27 the orders that it is for, SCH-23 and 24 the appointment that it came out of."""
    orders = [(26, "PLAC"), (27, "FILL")]
    parents = [(23, "PLAC"), (24, "FILL")]
    for name, kind, fields in (
        ("basedOn", "ServiceRequest", orders),
        ("supportingInformation", "Appointment", parents),
    ):
        made = [
            {"type": kind, "identifier": number}
            for field, half in fields
            for raw in reading.repetitions(row[field])
            if (number := entity(reading, raw, half))
        ]
        if made:
            found[name] = made
