"""OBR as DiagnosticReport: the status of the whole, its times, its documents, and its results."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.hl7v2_fhir.datatypes.codes import Coded, concept, status_extension
from mappings.hl7v2_fhir.datatypes.times import instant, put_period, put_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.resources.people import interpreters
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import REPORT_STATUS, SECTION, SECTION_CATEGORY, Json, own_text

_OPEN = frozenset({"registered", "preliminary", "unknown"})
_WRONG = "entered-in-error"
_CLOSED = frozenset({"final", "corrected", "amended", "cancelled", _WRONG})
_CHANGED = frozenset({"corrected", "amended", _WRONG})
_BETTER = frozenset({"final", "corrected"})


def begin_report(reading: Reading, order: Order, numbers: Numbers, code: Coded, key: str, setting: Setting) -> Json:
    """The DiagnosticReport as far as OBR says it. Gives the setting the times and category of its results."""
    row = order.row
    where = f"OBR[{order.number}]"
    found: Json = {"resourceType": "DiagnosticReport", "id": key}
    if numbers.all:
        found["identifier"] = list(numbers.all)
    found["status"] = "unknown"
    found["code"] = code.concept
    if code.missing:
        reading.find("code_missing", where + "-4")
    found.update(setting.shared)
    _category(reading, found, row[24], setting)
    effective: Json = {}
    if row[8] and row[8] != '""':
        put_period(reading, effective, "effectivePeriod", row[7], row[8], where + "-7")
    else:
        put_time(reading, effective, "effectiveDateTime", row[7], where + "-7")
    found.update(effective)
    setting.effective = effective
    if row[22]:
        _issued(reading, found, row[22])
    if row[32] and (people := interpreters(reading, row[32])):
        found["resultsInterpreter"] = people
    return found


def _issued(reading: Reading, found: Json, raw: str) -> None:
    """OBR-22; a time that is less than an instant is kept beside it: nothing is added to it."""
    if issued := instant(reading, raw):
        found["issued"] = issued
    elif text := reading.part(raw):
        found["_issued"] = {"extension": [own_text("v2-time", text)]}


def _category(reading: Reading, found: Json, raw: str, setting: Setting) -> None:
    """OBR-24, and what it says of the category of the results."""
    section = reading.part(raw)
    if not section:
        return
    found["category"] = [reading.dialect.cached(_section, reading, raw)]
    if coding := SECTION_CATEGORY.get(section):
        setting.shared["category"] = [{"coding": [coding]}]


def _section(reading: Reading, raw: str) -> Json | None:
    known = SECTION.get(reading.part(raw))
    return {"coding": [known]} if known else concept(reading, raw.split(reading.repetition, 1)[0])


def finish_report(reading: Reading, report: Json, order: Order, statuses: Sequence[str]) -> None:
    """OBR-25, judged beside the results' own statuses; empty, it is what they say."""
    where = f"OBR[{order.number}]-25"
    said = reading.single(order.row[25])
    if not said:
        report["status"] = _derived(statuses)
        if report["status"] == "unknown":
            reading.find("status_missing", where)
    elif said in REPORT_STATUS:
        report["status"] = REPORT_STATUS[said]
        if report["status"] in _BETTER and not _OPEN.isdisjoint(statuses):
            reading.find("status_better_than_results", where)
    else:
        reading.find("status_unknown", where)
    if said and (said == "A" or said not in REPORT_STATUS):
        report["_status"] = status_extension(said, "v2-0123", said == "A")


def _derived(statuses: Sequence[str]) -> str:
    """A report without a status is as far as its results: all final, some of them, or none known.

    Results that were entered in error never make it final: it is corrected, or as wrong as they are.
    """
    if not statuses or "unknown" in statuses:
        return "unknown"
    if all(status in ("cancelled", _WRONG) for status in statuses):
        return "cancelled" if "cancelled" in statuses else _WRONG
    if all(status in _CLOSED for status in statuses):
        return "final" if _CHANGED.isdisjoint(statuses) else "corrected"
    if all(status == "registered" for status in statuses):
        return "registered"
    return "preliminary" if "preliminary" in statuses else "partial"
