"""One OBR with its results: Observations, the DiagnosticReport over them, and the ServiceRequest that they answer."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.hl7v2_fhir.datatypes.codes import coded
from mappings.hl7v2_fhir.ids import JOIN, stable
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.collection import complete_collection, when_collected
from mappings.hl7v2_fhir.resources.observation import Setting, observation, observations
from mappings.hl7v2_fhir.resources.order import Numbers, service_request
from mappings.hl7v2_fhir.resources.provenance import put_provenance
from mappings.hl7v2_fhir.resources.report import begin_report, finish_report
from mappings.hl7v2_fhir.resources.request import more_requesters, put_more, says_more
from mappings.hl7v2_fhir.resources.specimen import collected, put_received, source, specimen
from mappings.hl7v2_fhir.structure import Noted, Order, Person
from mappings.hl7v2_fhir.vocabulary import Json


def loose_results(reading: Reading, person: Person, setting: Setting, fallback: str) -> None:
    """Results before any order, and specimens of none: the patient's, named by their time, else by the message."""
    scope = (setting.subject or {}).get("reference", fallback)
    found = [result.specimen for result in person.results if result.specimen] + person.specimens
    specimens_of(reading, found, setting, fallback)
    for result in person.results:
        when = reading.part(result.row[14]) or reading.own_name
        observation(reading, result, setting, reading.scope("Observation", reading.sender, scope, when))


def result(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """One OBR: its results first, then the report over them and the request that they answer."""
    code = coded(reading, order.row[4])
    key = numbers.key
    if not key:
        reading.find("order_without_number", f"OBR[{order.number}]-3")
        key = (reading.sender, reading.own_name)
    named = reading.numbered(JOIN.join(("OBR", *key, code.code, code.system)))
    report = begin_report(reading, order, numbers, code, stable("DiagnosticReport", named), setting)
    _order_specimens(reading, order, setting, report, named)
    setting.attachments, setting.statuses = [], []
    scope = reading.scope("Observation", *key)
    results = observations(reading, order.results, setting, scope)
    finish_report(reading, report, order, setting.statuses)
    if numbers.asked != numbers.key:
        named = reading.numbered(JOIN.join(("OBR", *numbers.asked, code.code, code.system)))
    request = service_request(reading, order, numbers, code, stable("ServiceRequest", named), report)
    report["basedOn"] = [request]
    orc = order.orc.row if order.orc else PADDING
    if says_more(reading, order.row, orc):
        _more(reading, order, orc, request, report, setting, named)
    if results:
        report["result"] = results
    if setting.attachments:
        report["presentedForm"] = setting.attachments
    reading.put(report)
    family.add(order, numbers, request, results)
    return request


def _more(
    reading: Reading, order: Order, orc: Row, request: Json, report: Json, setting: Setting, named: str
) -> None:  # fmt: skip
    """What few results say of their request, its specimen, and who entered it."""
    row = order.row
    put_more(reading, reading.resources[request["reference"]], row, orc, order.where)
    if row[9] or row[10] or row[39]:
        made = list(setting.specimens.values()) or report.get("specimen", [])
        if found := collected(reading, row, setting.subject, named, made, order.number):
            report["specimen"] = [found]
    asked = reading.resources[request["reference"]].get("requester")
    put_provenance(reading, orc, request, more_requesters(reading, row, orc, asked))


def _order_specimens(reading: Reading, order: Order, setting: Setting, report: Json, key: str) -> None:
    """The order's specimens; a single one is that of each result, and gives the time that nothing else says."""
    made = specimens_of(reading, order.specimens, setting, key)
    if not made and order.row[15]:
        old = source(reading, order.row, setting.subject, key, order.number)
        made = [old] if old else []
    if made:
        report["specimen"] = made
    for one in made:
        complete_collection(reading, one, setting.effective)
    if len(made) == 1:
        setting.specimen = made[0]
        if order.row[14]:
            put_received(reading, made[0], order.row, order.number)
        setting.effective = setting.effective or when_collected(reading, made[0])


def specimens_of(reading: Reading, specimens: Sequence[Noted], setting: Setting, key: str) -> list[Json]:
    """Write each specimen once; references to all that the setting has."""
    for spm in specimens:
        if spm.number not in setting.specimens:
            setting.specimens[spm.number] = specimen(reading, spm, setting.subject, key)
    return list(setting.specimens.values())
