"""A message as a FHIR R4 transaction: every resource under its stable id, every reference to something in it.

A transaction that is sent again changes nothing, and a correction changes the resources that the first one wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import orjson

from engine.errors import Held
from engine.formats.hl7v2 import Message
from engine.model import Converted
from engine.ports import Conversion, Tables
from mappings.hl7v2_fhir.coverage import refuse_unmapped
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.times import instant
from mappings.hl7v2_fhir.ids import JOIN
from mappings.hl7v2_fhir.master_files import OF_NO_PATIENT, WHY_NOT
from mappings.hl7v2_fhir.messages import BUILDERS, ORDERS, SUPPORTED, OrderBuilder
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.encounter import encounter
from mappings.hl7v2_fhir.resources.header import message_header
from mappings.hl7v2_fhir.resources.merge import finish
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.resources.origin import origin
from mappings.hl7v2_fhir.resources.patient import patient
from mappings.hl7v2_fhir.results import loose_results
from mappings.hl7v2_fhir.site_maps import maps_of
from mappings.hl7v2_fhir.standing import add_more, put_notes, stand
from mappings.hl7v2_fhir.structure import Noted, Order, Person, kind_of, structure
from mappings.hl7v2_fhir.vocabulary import STANDARD, Json

CONTENT_TYPE = "application/fhir+json"
NOTE = STANDARD + "note"


def transaction(parsed: Message, tables: Tables, context: Conversion) -> Converted:
    """Convert a message to a transaction Bundle.

    Raises:
        Held: code `not_convertible` for a type of message that is not in messages.py.
    """
    refuse_other_types(parsed, SUPPORTED)
    site = maps_of(context.maps)
    if required := context.options.get("require"):
        refuse_unmapped(parsed, required, site.maps)
    builders = ORDERS[kind_of(parsed)]
    reading = Reading(parsed, tables, context)
    reading.maps, reading.more = site.maps, site.more
    family = Family(reading)
    for person in structure(parsed):
        _person(reading, person, builders, family)
    family.join()
    for one in reading.unfinished:
        one.finish()
    finish(reading)
    if not reading.entries:
        reading.find("nothing_but_header", "MSH")
        message_header(reading)
    if context.options:
        origin(reading, parsed, context.options)
    return Converted(
        payload=orjson.dumps(_bundle(reading)),
        content_type=CONTENT_TYPE,
        findings=tuple(reading.findings),
        tables={**reading.dialect.revisions, **site.revisions},
        resources=reading.kinds,
    )


def refuse_other_types(message: Message, supported: Collection[str]) -> None:
    """Hold a message of any other type."""
    kind = kind_of(message)
    why = WHY_NOT.get(kind) or WHY_NOT.get(_with_event(message))
    if why or kind not in supported:
        raise Held(
            why or "this type of message has no conversion to FHIR yet",
            code="not_convertible",
            where="MSH-9",
            advice=f"Converted are {', '.join(supported)}. Let the destination take HL7 v2, or filter the type.",
        )


def _with_event(message: Message) -> str:
    """Type and event, such as `MFN^M04`; from the row, as `message.segments` makes an object of each segment."""
    header, mark = message.rows[0], message.separators.component
    return "^".join(header[9].split(mark)[:2]) if mark and len(header) > 9 else ""


def around(subject: Json | None, seen: Json | None) -> dict[str, Json]:
    """What the resources of a patient's segments may refer to."""
    found = {"patient": subject, "encounter": seen}
    return {name: reference for name, reference in found.items() if reference}


def _bundle(reading: Reading) -> Json:
    found: Json = {"resourceType": "Bundle", "type": "transaction"}
    if reading.meta:
        found["meta"] = reading.meta
    if control := reading.part(reading.header[10]):
        found["identifier"] = {"system": reading.dialect.senders_own + ":message", "value": control}
    if made := instant(reading, reading.header[7]):
        found["timestamp"] = made
    found["entry"] = [orjson.Fragment(entry) if type(entry) is str else entry for entry in reading.entries.values()]
    return found


def _person(reading: Reading, person: Person, builders: Mapping[str, OrderBuilder], family: Family) -> None:
    """One patient; without identifiers, named by the first order's number, else by the message."""
    numbers = [Numbers(reading, order) for order in person.orders]
    fallback = JOIN.join(numbers[0].key if numbers else ()) or reading.own_name
    subject = patient(reading, person.row, fallback) if person.number else None
    if subject is None and (person.orders or OF_NO_PATIENT.isdisjoint(detail.name for detail in person.details)):
        reading.find("patient_missing", "PID")
    visit = person.visit
    seen = encounter(reading, visit.row, subject, annotated(reading, visit.notes), fallback) if visit else None
    if reading.more:
        add_more(reading, person)
        if visit and seen:
            add_more(reading, visit)
    if seen is None:
        reading.latest.pop("Encounter", None)  # another patient's, to which nothing of this one may be added
    left = person.notes + visit.notes if visit and seen is None else person.notes
    reading.around = around(subject, seen)
    if person.details:
        left = left + _stand(reading, person.details)
    for order in [order for order in person.orders if order.name not in builders]:
        left = left + _foreign(reading, person, order)
    for control in person.controls:
        left = left + _control(reading, control, Setting(subject, seen), builders, family)
    if left:
        _notes(reading, person, subject, left)
    if person.results or person.specimens:
        loose_results(reading, person, Setting(subject, seen), fallback)
    for order, named in zip(person.orders, numbers, strict=True):
        if order.name in builders:
            _order(reading, order, named, Setting(subject, seen), builders, family)


def _foreign(reading: Reading, person: Person, order: Order) -> list[Row]:
    """An order that this type of message has no builder for: its results and notes are the patient's."""
    reading.find("not_converted", order.where)
    person.results += order.results
    details = order.orc.details + order.details if order.orc else order.details
    notes = order.orc.notes + order.notes if order.orc else order.notes
    return notes + _stand(reading, details)


def _control(
    reading: Reading, control: Noted, setting: Setting, builders: Mapping[str, OrderBuilder], family: Family
) -> list[Row]:
    """An ORC that no request follows, with what follows it; the notes of what makes nothing."""
    if "ORC" not in builders:
        return control.notes + _stand(reading, control.details)
    order = Order(PADDING, control.number, control, "ORC")
    _order(reading, order, Numbers(reading, order), setting, builders, family)
    return []


def _order(
    reading: Reading, order: Order, numbers: Numbers, setting: Setting, builders: Mapping[str, OrderBuilder],
    family: Family,
) -> None:  # fmt: skip
    """One order, then what stands for itself among its details; their notes go to it where they make nothing."""
    main = builders[order.name](reading, order, numbers, setting, family)
    details = order.orc.details + order.details if order.orc else order.details
    if details:
        if main:
            reading.around["order"] = main
        left = _stand(reading, details)
        if main and left:
            put_notes(reading, reading.resources[main["reference"]], left)
        reading.around.pop("order", None)


def _stand(reading: Reading, details: Sequence[Noted]) -> list[Row]:
    """What stands for itself; the notes of what makes nothing."""
    return stand(reading, details, reading.maps, BUILDERS)


def _notes(reading: Reading, person: Person, subject: Json | None, rows: list[Row]) -> None:
    """The patient's notes and a visit's without Encounter.

    Where there is no patient they are the first order's or result's, and without either the header's.
    """
    if subject is None:
        for first in (*person.orders[:1], *person.results[:1])[:1]:
            first.notes[:0] = rows
            return
        if not reading.entries:
            reading.find("nothing_but_header", "MSH")
        put_notes(reading, reading.resources[message_header(reading)["reference"]], rows)
        return
    resource = reading.resources[subject["reference"]]
    extensions = resource.setdefault("extension", [])
    extensions += ({"url": NOTE, "valueAnnotation": note} for note in annotated(reading, rows))
    if not extensions:
        del resource["extension"]
