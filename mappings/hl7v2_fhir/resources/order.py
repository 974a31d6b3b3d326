"""ORC and OBR as ServiceRequest: who asked for what, under which numbers, and what became of it."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import Coded, concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity, pair
from mappings.hl7v2_fhir.datatypes.names import addresses
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.people import organization, practitioners, put_telecom, role
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import (
    ORDER_CONTROL,
    ORDER_STATUS,
    OWN,
    PRIORITY,
    TERMINOLOGY,
    Json,
    absent_extension,
    own_text,
)

DONE = frozenset({"final", "corrected", "amended", "appended"})


class Numbers:
    """The numbers of one order: the placer's and the filler's, from OBR or, where it has none, from its ORC.

    `key` names the order's results in stable ids: the filler's number, else the placer's; empty when there is neither.
    `asked` names the request, which is the placer's: the placer's number, else the filler's.
    """

    __slots__ = ("all", "asked", "filler", "key", "placer")

    def __init__(self, reading: Reading, order: Order) -> None:
        orc = order.orc.row if order.orc else PADDING
        row = order.row if order.name == "OBR" else PADDING
        self.placer = placer = entity(reading, row[2] or orc[2], "PLAC")
        self.filler = filler = entity(reading, row[3] or orc[3], "FILL")
        self.all = [number for number in (placer, filler) if number]
        number = filler or placer
        self.key: tuple[str, ...] = (number["system"], number["value"]) if number else ()
        self.asked = (placer["system"], placer["value"]) if placer and filler else self.key

    def group(self, reading: Reading, orc: Row) -> Json | None:
        """ORC-4: the number that orders placed together share."""
        return (entity(reading, orc[4], "PGN") or pair(reading, orc[4], 0, "PGN")) if orc[4] else None


def service_request(reading: Reading, order: Order, numbers: Numbers, code: Coded, key: str, report: Json) -> Json:
    """Write the ServiceRequest; a reference to it. It takes subject, encounter and specimen from the report."""
    row = order.row
    orc = order.orc.row if order.orc else PADDING
    where = f"OBR[{order.number}]"
    found: Json = {"resourceType": "ServiceRequest", "id": key}
    if numbers.all:
        found["identifier"] = list(numbers.all)
    if orc[4] and (group := numbers.group(reading, orc)):
        found["requisition"] = group
    _status(reading, found, orc, report["status"])
    found["intent"] = "reflex-order" if reading.text(row[11]) == "G" else "order"
    if row[5] or row[27] or orc[7]:
        put_priority(reading, found, row[5] or priority_of(reading, row, orc))
    found["code"] = code.concept
    found["subject"] = report.get("subject") or {"extension": [absent_extension("unknown")]}  # the element is required
    if "encounter" in report:
        found["encounter"] = report["encounter"]
    put_time(reading, found, "authoredOn", orc[9], where + "-ORC-9")
    if requester := requester_of(reading, row, orc):
        found["requester"] = requester
    if row[31] and (reasons := concepts(reading, row[31])):
        found["reasonCode"] = reasons
    if "specimen" in report:
        found["specimen"] = report["specimen"]
    notes = annotated(reading, order.orc.notes) if order.orc and order.orc.notes else []
    if order.notes:
        notes = notes + annotated(reading, order.notes)
    if notes:
        found["note"] = notes
    return reading.put(found)


def _status(reading: Reading, found: Json, orc: Row, report: str) -> None:
    """ORC-5; only when it is empty ORC-1; for results (RE) and without ORC what the report says."""
    said = reading.part(orc[5])
    control = reading.part(orc[1])
    if said:
        found["status"] = ORDER_STATUS.get(said, "unknown")
        if said not in ORDER_STATUS:
            reading.find("status_unknown", "ORC-5")
            found["_status"] = status_extension(said, "v2-0038", False)
    elif control in ORDER_CONTROL:
        found["status"] = ORDER_CONTROL[control]
    else:
        found["status"] = "completed" if report in DONE else "unknown"


def priority_of(reading: Reading, row: Row, orc: Row) -> str:
    """OBR-5, else the sixth component of quantity/timing (OBR-27, ORC-7), where it stood before TQ1."""
    if row[5]:
        return reading.part(row[5])
    timing = row[27] or orc[7]
    return reading.text(reading.parts(timing.split(reading.repetition, 1)[0], 6)[5]) if timing else ""


def put_priority(reading: Reading, found: Json, raw: str) -> None:
    """The priority; what FHIR has no code for (preoperative, as needed, within so many hours) is kept."""
    if known := PRIORITY.get(reading.part(raw).upper()):
        found.setdefault("priority", known)
        return
    said = concept(reading, raw.split(reading.repetition, 1)[0])
    if said is None:
        return
    coding = said.get("coding", [{"system": ""}])[0]
    if "system" not in coding:
        said = {"coding": [{"system": TERMINOLOGY + "v2-0485", "code": coding["code"]}]}
    kept = {"url": OWN + "v2-order-priority", "valueCodeableConcept": said}
    if kept not in found.setdefault("extension", []):
        found["extension"].append(kept)


def requester_of(reading: Reading, row: Row, orc: Row) -> Json | None:
    """OBR-16, else ORC-12: the first person, at the ordering facility (ORC-21) where there is one."""
    people = asking(reading, row, orc)
    place = organization(reading, orc[21], orc[22]) if orc[21] else None
    if place and orc[23]:
        put_telecom(reading, place, orc[23])
    if not people:
        if place:
            put_telecom(reading, place, row[17] or orc[14])
        return place
    if orc[24] and "reference" in people[0] and (where := addresses(reading, orc[24])):
        reading.resources[people[0]["reference"]].setdefault("address", where)
    return role(reading, people[0], place, None, row[17] or orc[14])


def asking(reading: Reading, row: Row, orc: Row) -> list[Json]:
    """OBR-16, then who else is in ORC-12; one name with two numbers is one person, who has both."""
    first, second = row[16], orc[12]
    if first and second and first != second:
        return practitioners(reading, first + reading.repetition + second)
    return practitioners(reading, first or second)


def put_unowned(reading: Reading, found: Json, row: Row, orc: Row) -> None:
    """As text where a facility without a name is (ORC-22, 23), and a call-back number of nobody (OBR-17, ORC-14)."""
    made: list[Json] = []
    if not reading.part(orc[21]):
        made += (own_text("v2-facility-contact", text) for raw in orc[22:24] for text in _lines(reading, raw))
    if "requester" not in found:
        made += (own_text("v2-call-back", text) for text in _lines(reading, row[17] or orc[14]))
    if made:
        found.setdefault("extension", []).extend(made)


def _lines(reading: Reading, raw: str) -> list[str]:
    """Each repetition as text, its parts with a space between."""
    if not raw:
        return []
    parts = [part.replace(reading.subcomponent, reading.component) for part in reading.repetitions(raw)]
    lines = (" ".join(word for word in reading.texts(part, 1) if word) for part in parts)
    return [line for line in lines if line]


def parent_numbers(reading: Reading, order: Order) -> list[Json]:
    """OBR-29: the numbers of the order that this one came out of."""
    raw = order.row[29].split(reading.repetition, 1)[0]
    if not raw or raw == '""':
        return []
    found = (pair(reading, raw, 1, "FILL"), pair(reading, raw, 0, "PLAC"))
    return [number for number in found if number]
