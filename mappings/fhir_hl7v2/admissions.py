"""Patient and Encounter as ADT: which event it is, and what each has behind EVN.

Invariant: an event is never guessed. It is what the destination says, what a MessageHeader says, or what the content
can mean only; else the message is held.
"""

from __future__ import annotations

from engine.errors import Held
from mappings.fhir_hl7v2.clock import stamp
from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.header import Kind, evn
from mappings.fhir_hl7v2.names import names
from mappings.fhir_hl7v2.options import EVENTS
from mappings.fhir_hl7v2.patient import identifiers
from mappings.fhir_hl7v2.persons import Around, of_one_patient
from mappings.fhir_hl7v2.whose import mixed
from mappings.fhir_hl7v2.writing import Json, Writing, word
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_STRUCTURE = {
    "A01": "ADT_A01",
    "A03": "ADT_A03",
    "A04": "ADT_A01",
    "A08": "ADT_A01",
    "A31": "ADT_A05",
    "A40": "ADT_A39",
}
_EVENT_CODES = TERMINOLOGY + "v2-0003"
_INPATIENT = frozenset({"IMP", "ACUTE", "NONAC"})
_THERE = frozenset({"in-progress", "arrived", "triaged"})


def admission_segments(w: Writing) -> tuple[Kind, list[str]]:
    """MSH-9 and all segments behind MSH.

    Raises:
        Held: where the event cannot be known, or the message is about several patients or visits.
    """
    merged = _merge(w)
    event = _event(w, merged is not None)
    if event == "A40":
        return _kind(w, event), _merge_segments(w, merged)
    encounters = w.of("Encounter")
    patients = w.of("Patient")
    around = of_one_patient(w, encounters or patients[:1])
    if not around.patient and len(patients) > 1:
        raise mixed()
    if encounters:
        _refuse_cancelled(event, encounters[0])
        around = Around(around.patient, w.use(encounters[0]))
    lines = [evn(w, event, _occurred(w, event, around.encounter)), *around.segments(w, visit=True, contacts=True)]
    return _kind(w, event), lines


def _refuse_cancelled(event: str, encounter: Json) -> None:
    """Hold an admission or discharge of a visit that did not take place, whoever named the event."""
    if event in ("A01", "A03", "A04") and word(encounter, "status") in ("cancelled", "entered-in-error"):
        raise Held(
            "the visit was cancelled or entered in error: it is no admission and no discharge",
            code="not_convertible",
            where="Encounter.status",
            advice="Filter such visits: a cancelled event needs A11, A13 or A08.",
        )


def _kind(w: Writing, event: str) -> Kind:
    structure = "ADT_A01" if event == "A31" and not w.options.since("2.4") else _STRUCTURE.get(event, f"ADT_{event}")
    return Kind("ADT", event, structure)


def _event(w: Writing, merge: bool) -> str:
    """The event: the destination's, the header's, or the only one that the content can mean."""
    found = w.options.event or _said(w) or ("A40" if merge else _by_content(w))
    if found not in EVENTS or (found == "A40" and not merge):
        raise Held(
            "the event cannot be known from what was sent",
            code="not_convertible",
            where="Encounter.status" if w.of("Encounter") else "Patient",
            advice=f"Name it with `conversion.event`: {', '.join(EVENTS)}.",
        )
    return found


def _said(w: Writing) -> str:
    for header in w.of("MessageHeader"):
        coding = w.item(header, "eventCoding")
        if word(coding, "system") == _EVENT_CODES:
            return word(coding, "code")
    return ""


def _by_content(w: Writing) -> str:
    """One visit: by its status and class. No visit: A31 for a patient that is put where it was before."""
    encounters = w.of("Encounter")
    if len(encounters) > 1:
        return ""
    if not encounters:
        return "A31" if _is_put(w) else ""
    code = word(w.item(encounters[0], "class"), "code")
    status = word(encounters[0], "status")
    if status == "finished":
        return "A03"
    if status in _THERE and code:
        return "A01" if code in _INPATIENT else "A04"
    return ""


def _is_put(w: Writing) -> bool:
    entries = w.bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        request = entry.get("request") if isinstance(entry, dict) else None
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == "Patient":
            return isinstance(request, dict) and request.get("method") == "PUT"
    return False


def _occurred(w: Writing, event: str, encounter: Json) -> str:
    """EVN-6 of an admission or discharge: the time of the visit that says when it happened."""
    name = {"A01": "start", "A04": "start", "A03": "end"}.get(event)
    period = w.item(encounter, "period") if encounter else {}
    return stamp(w, period, name, "Encounter.period") if name and period else ""


def _merge(w: Writing) -> tuple[Json, Json, Json] | None:
    """Survivor, and the patient that it replaces with the link that says so; None where no link says it."""
    for patient in w.of("Patient"):
        for link in w.items(patient, "link"):
            kind, other = word(link, "type"), w.item(link, "other")
            if kind not in ("replaces", "replaced-by") or not other:
                continue
            found = w.known.get(word(other, "reference"), {})
            w.skip(patient, "link")
            if kind == "replaces":
                return patient, found, other
            if found:
                return found, patient, {}
    return None


def _merge_segments(w: Writing, merged: tuple[Json, Json, Json] | None) -> list[str]:
    """EVN, PID of the survivor, MRG of the other."""
    assert merged is not None
    survivor, prior, reference = merged
    w.use(survivor)
    w.skip(survivor, "link")
    fields: Fields = {}
    if prior:
        w.use(prior)
        w.skip(prior, "link", "active")
        fields = {1: identifiers(w, prior), 7: names(w, prior, "name")}
    elif isinstance(reference.get("identifier"), dict):
        fields = {1: identifiers(w, {"identifier": [reference["identifier"]]})}
    if not fields.get(1):
        raise Held(
            "the patient that was merged has no identifier", code="not_convertible", where="Patient.link",
            advice="Let the sender send the other Patient, or its identifier in the link.",
        )  # fmt: skip
    around = Around(survivor, {})
    return [evn(w, "A40"), *around.segments(w), segment("MRG", fields)]
