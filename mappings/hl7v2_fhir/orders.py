"""One order of a message that asks for something: the request, what was found out for it, and what is asked about it.

An OBR that carries results (previous ones, or an answer with them) is made as in a result message.
"""

from __future__ import annotations

from engine.errors import Held
from mappings.hl7v2_fhir.datatypes.codes import Coded, coded
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.timing import of_tq1
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.observation import Setting, observations
from mappings.hl7v2_fhir.resources.order import DONE, Numbers, priority_of, put_priority
from mappings.hl7v2_fhir.resources.provenance import put_provenance
from mappings.hl7v2_fhir.resources.request import (
    more_requesters,
    old_timings,
    parents_of,
    put_order_fields,
    put_requester,
    put_security,
    put_sequence,
    put_status,
    put_test,
    put_times,
    put_timing,
)
from mappings.hl7v2_fhir.resources.specimen import collected
from mappings.hl7v2_fhir.resources.task import put_task
from mappings.hl7v2_fhir.results import result, specimens_of
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import Json, absent_extension

_TIMINGS = ("TQ1", "TQ2")
_WITH_RESULTS = frozenset("ACFPR")
"""OBR-25 of a report that has results, in part or in whole."""


def request(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """OBR in an order message; previous results (ORC-1 PR, or OBR-25) as results."""
    orc = order.orc.row if order.orc else PADDING
    if _reports(reading, order, orc):
        previous = reading.part(orc[1]) == "PR"
        whose = Setting(setting.subject, None) if previous else setting  # not of this visit
        made = result(reading, order, numbers, whose, family)
        if previous:
            _answered(reading, made, orc)
        _afterwards(reading, order, orc, numbers, made)
        return made
    code = coded(reading, order.row[4])
    key = _key(reading, order, numbers)
    named = reading.numbered(JOIN.join(("OBR", *key, code.code, code.system)))
    found: Json = {"resourceType": "ServiceRequest", "id": stable("ServiceRequest", named)}
    results = _answers(reading, order, setting, key, named)
    _request(reading, found, order, orc, numbers, code, setting, results)
    _parents(reading, found, orc, order.row, family)
    main = reading.put(found)
    put_security(reading, found, orc)
    family.add(order, numbers, main, results)
    _afterwards(reading, order, orc, numbers, main)
    return main


def control(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """An ORC that no request follows: a cancellation or an answer by number.

    Raises:
        Held: code `not_convertible` where the ORC has no number: nobody could tell which order it is about.
    """
    orc = order.orc.row if order.orc else PADDING
    if not numbers.key:
        raise Held(
            "an order without a request names no order",
            code="not_convertible",
            where=f"ORC[{order.number}]-2",
            advice="Ask the sender for the placer's or filler's number of the order, or end the message.",
        )
    named = reading.numbered(JOIN.join(("ORC", *numbers.asked)))
    found: Json = {"resourceType": "ServiceRequest", "id": stable("ServiceRequest", named)}
    _request(reading, found, order, orc, numbers, None, setting, [])
    _parents(reading, found, orc, PADDING, family)
    main = reading.put(found)
    put_security(reading, found, orc)
    _afterwards(reading, order, orc, numbers, main)
    return main


def _reports(reading: Reading, order: Order, orc: Row) -> bool:
    """True for an OBR with results: said to be (PR, RE) and with some, or with a result status."""
    if reading.part(order.row[25]) in _WITH_RESULTS:
        return True
    return bool(order.results) and reading.part(orc[1]) in ("PR", "RE")


def _answered(reading: Reading, made: Json, orc: Row) -> None:
    """An earlier order is not active because its results are sent: it is as far as ORC-5 or its report says."""
    found = reading.resources[made["reference"]]
    if not reading.part(orc[5]):
        report = reading.latest["DiagnosticReport"]["status"]
        found["status"] = "completed" if report in DONE else "unknown"


def _key(reading: Reading, order: Order, numbers: Numbers) -> tuple[str, ...]:
    if not numbers.key:
        reading.find("order_without_number", f"{order.where}-2")
    return numbers.asked or (reading.sender, reading.own_name)


def _answers(reading: Reading, order: Order, setting: Setting, key: tuple[str, ...], named: str) -> list[Json]:
    """The specimens, and what the order says beside itself in OBX: weight, questions at order entry."""
    made = specimens_of(reading, order.specimens, setting, named)
    if found := collected(reading, order.row, setting.subject, named, made, order.number):
        made = [found]
        setting.specimens[-order.number] = found
    setting.attachments, setting.statuses = None, []
    return observations(reading, order.results, setting, reading.scope("Observation", *key))


def _request(
    reading: Reading, found: Json, order: Order, orc: Row, numbers: Numbers, code: Coded | None, setting: Setting,
    results: list[Json],
) -> None:  # fmt: skip
    """Everything that ORC and OBR say of the request."""
    row, where = order.row, order.where
    above = order.orc.where if order.orc else "ORC"
    found["identifier"] = list(numbers.all)
    put_status(reading, found, orc, above)
    found["intent"] = "reflex-order" if reading.text(row[11]) == "G" else "order"
    put_priority(reading, found, row[5] or priority_of(reading, row, orc))
    if code is not None:
        found["code"] = code.concept
        if code.missing:
            reading.find("code_missing", where + "-4")
    found["subject"] = setting.subject or {"extension": [absent_extension("unknown")]}
    if "encounter" in setting.shared:
        found["encounter"] = setting.shared["encounter"]
    if group := numbers.group(reading, orc):
        found["requisition"] = group
    put_order_fields(reading, found, orc, above)
    put_requester(reading, found, row, orc)
    if code is not None:
        put_test(reading, found, row, where)
        map_named(reading, "OBR", "OBR-ServiceRequest").fill(reading, row, found, where)
    map_named(reading, "ORC", "ORC-ServiceRequest").fill(reading, orc, found, above)
    _timings(reading, found, order, orc, above)
    if setting.specimens:
        found["specimen"] = list(setting.specimens.values())
    if results:
        found.setdefault("supportingInfo", []).extend(results)
    if covers := insurance(reading, setting.subject):
        found["insurance"] = covers
    above_notes = annotated(reading, order.orc.notes) if order.orc else []
    if notes := above_notes + annotated(reading, order.notes):
        found["note"] = notes


def _timings(reading: Reading, found: Json, order: Order, orc: Row, where: str) -> None:
    """TQ1, else TQ; then the times of OBR. What is taken here is no detail any more."""
    taken = [detail for owner in (order.orc, order) if owner for detail in owner.details if detail.name in _TIMINGS]
    said = [of_tq1(reading, detail.row, detail.where) for detail in taken if detail.name == "TQ1"]
    for one in said or old_timings(reading, orc, order.row, where + "-7"):
        put_timing(reading, found, one)
    for detail in taken:
        if detail.name == "TQ2":
            put_sequence(reading, found, detail.row)
    for owner in (order.orc, order):
        if owner and taken:
            owner.details = [detail for detail in owner.details if detail.name not in _TIMINGS]
    put_times(reading, found, order.row, order.where, bool(order.specimens))


def insurance(reading: Reading, subject: Json | None) -> list[Json]:
    """The patient's Coverages in this message."""
    if not reading.kinds.get("Coverage"):
        return []
    return [
        {"reference": url}
        for url, resource in reading.resources.items()
        if resource["resourceType"] == "Coverage" and resource.get("beneficiary") in (subject, None)
    ]


def _parents(reading: Reading, found: Json, orc: Row, row: Row, family: Family) -> None:
    """ORC-8: the order that this one came out of, in this message or by its numbers."""
    numbers = parents_of(reading, orc, row)
    parent = family.find(numbers)
    if parent:
        found["basedOn"] = [parent]
    elif numbers:
        found["basedOn"] = [{"type": "ServiceRequest", "identifier": number} for number in numbers]


def _afterwards(reading: Reading, order: Order, orc: Row, numbers: Numbers, main: Json) -> None:
    """What is asked about the order, and who did something to it."""
    found = reading.resources[main["reference"]]
    put_task(reading, orc, numbers.asked or (found["id"],), found, found.get("requester"))
    others = more_requesters(reading, order.row if order.name == "OBR" else PADDING, orc, found.get("requester"))
    put_provenance(reading, orc, main, others)
