"""A result message as a FHIR R4 transaction: every resource under its stable id, every reference to something in it.

A transaction that is sent again changes nothing, and a correction changes the resources that the first one wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from engine.errors import Held
from engine.formats.hl7v2 import Message
from engine.model import Converted
from engine.ports import Conversion, Tables
from mappings.hl7v2_fhir.datatypes.codes import coded
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.times import instant
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.header import message_header
from mappings.hl7v2_fhir.resources.observation import Setting, observation, observations
from mappings.hl7v2_fhir.resources.order import Numbers, service_request
from mappings.hl7v2_fhir.resources.patient import encounter, patient
from mappings.hl7v2_fhir.resources.report import begin_report, finish_report
from mappings.hl7v2_fhir.resources.specimen import source, specimen
from mappings.hl7v2_fhir.structure import Noted, Order, Person, kind_of, structure
from mappings.hl7v2_fhir.vocabulary import STANDARD, Json

CONTENT_TYPE = "application/fhir+json"
SUPPORTED = ("ORU", "OUL")
NOTE = STANDARD + "note"


def transaction(parsed: Message, tables: Tables, context: Conversion) -> Converted:
    """Convert a result message (ORU, OUL) to a transaction Bundle.

    Raises:
        Held: code `not_convertible` for any other type of message.
    """
    refuse_other_types(parsed)
    reading = Reading(parsed, tables, context)
    family = Family(reading)
    for person in structure(parsed):
        _person(reading, person, family)
    family.join()
    if not reading.entries:
        reading.find("nothing_but_header", "MSH")
        message_header(reading)
    return Converted(
        payload=orjson.dumps(_bundle(reading)),
        content_type=CONTENT_TYPE,
        findings=tuple(reading.findings),
        tables=dict(reading.dialect.revisions),
        resources=reading.kinds,
    )


def refuse_other_types(message: Message) -> None:
    """Hold a message that is not a result."""
    if kind_of(message) not in SUPPORTED:
        raise Held(
            "this type of message has no conversion to FHIR yet",
            code="not_convertible",
            where="MSH-9",
            advice=f"Converted are {' and '.join(SUPPORTED)}. Let the destination take HL7 v2, or filter the type.",
        )


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


def _person(reading: Reading, person: Person, family: Family) -> None:
    """One patient; without identifiers, named by the first order's number, else by the message."""
    numbers = [Numbers(reading, order) for order in person.orders]
    fallback = JOIN.join(numbers[0].key if numbers else ()) or reading.part(reading.header[10])
    subject = patient(reading, person.row, fallback) if person.number else None
    if subject is None:
        reading.find("patient_missing", "PID")
    visit = person.visit
    seen = encounter(reading, visit.row, subject, annotated(reading, visit.notes), fallback) if visit else None
    unseen = visit.notes if visit and seen is None else []
    if person.notes or unseen:
        _notes(reading, person, subject, person.notes + unseen)
    if person.results:
        _loose_results(reading, person, Setting(subject, seen), fallback)
    for order, named in zip(person.orders, numbers, strict=True):
        _order(reading, order, named, Setting(subject, seen), family)


def _notes(reading: Reading, person: Person, subject: Json | None, rows: list[Row]) -> None:
    """The patient's notes and a visit's without Encounter; where there is no patient, the first order's or result's."""
    if subject is None:
        for first in (*person.orders[:1], *person.results[:1])[:1]:
            first.notes[:0] = rows
        return
    resource = reading.resources[subject["reference"]]
    extensions = resource.setdefault("extension", [])
    extensions += ({"url": NOTE, "valueAnnotation": note} for note in annotated(reading, rows))
    if not extensions:
        del resource["extension"]


def _loose_results(reading: Reading, person: Person, setting: Setting, fallback: str) -> None:
    """Results before any order: the patient's, named by their time, else by the message."""
    scope = (setting.subject or {}).get("reference", fallback)
    _specimens(reading, [result.specimen for result in person.results if result.specimen], setting, fallback)
    for result in person.results:
        when = reading.part(result.row[14]) or reading.part(reading.header[10])
        observation(reading, result, setting, reading.scope("Observation", reading.sender, scope, when))


def _order(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> None:
    """One OBR: its results first, then the report over them and the request that they answer."""
    code = coded(reading, order.row[4])
    key = numbers.key
    if not key:
        reading.find("order_without_number", f"OBR[{order.number}]-3")
        key = (reading.sender, reading.part(reading.header[10]))
    named = reading.numbered(JOIN.join(("OBR", *key, code.code, code.system)))
    report = begin_report(reading, order, numbers, code, stable("DiagnosticReport", named), setting)
    _order_specimens(reading, order, setting, report, named)
    setting.attachments, setting.statuses = [], []
    scope = reading.scope("Observation", *key)
    results = observations(reading, order.results, setting, scope)
    finish_report(reading, report, order, setting.statuses)
    request = service_request(reading, order, numbers, code, stable("ServiceRequest", named), report)
    report["basedOn"] = [request]
    if results:
        report["result"] = results
    if setting.attachments:
        report["presentedForm"] = setting.attachments
    reading.put(report)
    family.add(order, numbers, request, results)


def _order_specimens(reading: Reading, order: Order, setting: Setting, report: Json, key: str) -> None:
    """The order's specimens; a single one is that of each result, and gives the time that nothing else says."""
    made = _specimens(reading, order.specimens, setting, key)
    if not made and order.row[15]:
        old = source(reading, order.row, setting.subject, key, order.number)
        made = [old] if old else []
    if made:
        report["specimen"] = made
    if len(made) == 1:
        setting.specimen = made[0]
        if not setting.effective:
            collection = reading.resources[made[0]["reference"]].get("collection", {})
            names = {"collectedDateTime": "effectiveDateTime", "collectedPeriod": "effectivePeriod"}
            setting.effective = {new: collection[old] for old, new in names.items() if old in collection}


def _specimens(reading: Reading, specimens: Sequence[Noted], setting: Setting, key: str) -> list[Json]:
    for spm in specimens:
        if spm.number not in setting.specimens:
            setting.specimens[spm.number] = specimen(reading, spm, setting.subject, key)
    return list(setting.specimens.values())
