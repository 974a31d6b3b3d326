"""ServiceRequest as ORC and the ordering half of OBR."""

from __future__ import annotations

from engine.errors import Held
from mappings.fhir_hl7v2.codes import alternate, coded, kept_code
from mappings.fhir_hl7v2.fields import Fields, fill
from mappings.fhir_hl7v2.identifiers import NO_NUMBER, number, numbers, of_kind, pair
from mappings.fhir_hl7v2.leaves import leaf
from mappings.fhir_hl7v2.names import addresses, organization, people, telecoms
from mappings.fhir_hl7v2.order_numbers import Numbers
from mappings.fhir_hl7v2.vocabulary import forward, own
from mappings.fhir_hl7v2.whose import one_patient
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of, word

_ORDERS = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order"})


def orc(w: Writing, request: Json, numbers: Numbers, control: str, report: bool) -> Fields:
    """The ORC of a request."""
    fields: Fields = {1: leaf(control), 2: numbers.placer.ei, 3: numbers.filler.ei}
    if request:
        fields[5] = _status(w, request, new=control == "NW", report=report)
        requester(w, request, fields)
        fill(w, "ORC-request", request, fields)
    return fields


def control_of(w: Writing, request: Json) -> str:
    """ORC-1 of an order: the destination's option, else by the order's status.

    Raises:
        Held: for a status or intent that is no order to carry out (draft, plan), or none at all: a receiver
            would act on it.
    """
    status, intent = word(request, "status"), word(request, "intent")
    found = own("order-control").get(status, "")
    if not found or intent not in _ORDERS:
        raise Held(
            "the order is a draft, a plan, or has no status or intent: it is not sent as an order",
            code="not_convertible",
            where=f"{kind_of(request)}.{'intent' if found else 'status'}",
            advice="Filter such resources, or let the sender say what is to be done.",
        )
    w.skip(request, "intent")
    return w.options.order_control or found


def _status(w: Writing, request: Json, *, new: bool, report: bool) -> str:
    """ORC-5. A new order has none yet; the v2 code that stands beside the status comes back."""
    said = w.text(request, "status")
    if kept := kept_code(alternate(w, request, "status"), said, forward("order-status")):
        return leaf(kept)
    if new and said == "active":
        return ""
    found = own("order-status").get(said, "")
    if said and not found and not (report and said == "unknown"):
        w.find("status_unknown", "ServiceRequest.status")
    return found


def requester(w: Writing, request: Json, fields: Fields) -> None:
    """ORC-12, 14, 21 and 22: who asked, and from where."""
    found, reference = w.target(request, "requester", request)
    if not reference:
        return
    if found.get("resourceType") == "Organization":
        _facility(w, found, reference, fields)
        return
    fields[12] = people(w, [(found, reference)])
    person = w.target(found, "practitioner", found)[0] if found.get("practitioner") else found
    if person.get("resourceType") == "Practitioner":
        fields[24] = addresses(w, person, "address")
    if found.get("resourceType") == "PractitionerRole":
        place, inner = w.target(found, "organization", found)
        fields[14] = telecoms(w, found, "telecom")
        if inner:
            _facility(w, place, inner, fields)


def _facility(w: Writing, place: Json, reference: Json, fields: Fields) -> None:
    """ORC-21 to 23: the ordering facility."""
    fields[21] = organization(w, place, reference)
    fields[22] = addresses(w, place, "address")
    fields[23] = telecoms(w, place, "telecom")


def obr_of_request(w: Writing, request: Json, fields: Fields) -> Fields:
    """The fields of an OBR that a request says."""
    if not request:
        return fields
    w.use(request)
    w.skip(request, "subject", "encounter", "specimen")
    if not fields.get(16):
        who: Fields = {}
        requester(w, request, who)
        fields[16] = who.get(12, "")
    if w.text(request, "intent") == "reflex-order":
        fields[11] = "G"
    fields[29] = parent(w, request)
    return fill(w, "OBR-ServiceRequest", request, fields)


def parent(w: Writing, request: Json) -> str:
    """OBR-29: the numbers of the order that this one came out of."""
    placer, filler = NO_NUMBER, NO_NUMBER
    for reference in w.items(request, "basedOn"):
        found = w.known.get(str(reference.get("reference")), {})
        w.skip(reference, "reference")
        one_patient(w, (request, found))
        known = numbers(w, found) if found else [number(w, w.item(reference, "identifier"))]
        placer = placer if placer.value else of_kind(known, "PLAC")
        filler = filler if filler.value else of_kind(known, "FILL")
        if found and not (placer.value or filler.value) and known:
            placer = known[0]
    return pair(placer, filler)


def status_of_report(w: Writing, report: Json, results: list[Json]) -> str:
    """OBR-25.

    Raises:
        Held: a report that was entered in error over results that were not: v2 has no code for it.
    """
    said = word(report, "status")
    if said == "entered-in-error":
        if all(result.get("status") == said for result in results):
            w.skip(report, "status")
            return "C"
        raise Held(
            "the report was entered in error and its results were not: HL7 v2 has no status for that",
            code="not_convertible",
            where="DiagnosticReport.status",
            advice="Let the sender mark the results as entered in error, too.",
        )
    if said in ("amended", "appended"):
        w.skip(report, "status")
        w.find("code_narrowed", "DiagnosticReport.status")
        return "C"
    return coded(w, report, "status", "report-status", "DiagnosticReport.status")
