"""MedicationRequest as RDE^O11 and OMP^O09: ORC, RXO or RXE, timing, route and notes of each prescription.

Invariant: a dose is written with its unit or not at all, and the words of the dosage always go with it.
"""

from __future__ import annotations

from typing import NamedTuple

from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.leaves import leaves, repeated
from mappings.fhir_hl7v2.names import organization
from mappings.fhir_hl7v2.notes import comments, notes
from mappings.fhir_hl7v2.order_numbers import order_numbers
from mappings.fhir_hl7v2.persons import of_one_patient
from mappings.fhir_hl7v2.quantities import digits, take_all, unit, units_of
from mappings.fhir_hl7v2.requests import control_of, orc
from mappings.fhir_hl7v2.timing import Timing, instructions, of_dosage, priority
from mappings.fhir_hl7v2.writing import Json, Writing

#: Where RXO and RXE hold the same: code, least and most dose, unit, form, instructions, amount, its unit, refills.
_RXO = {"code": 1, "least": 2, "most": 3, "unit": 4, "form": 5, "words": 7, "substitute": 9, "amount": 11, "of": 12}
_RXE = {"code": 2, "least": 3, "most": 4, "unit": 5, "form": 6, "words": 7, "substitute": 9, "amount": 10, "of": 11}

#: RXO-9 (HL7 table 0161): G allow generic, N not authorized. RXE-9 (0167): 0 none indicated, 1 not allowed.
_SUBSTITUTION = {"RXO": {True: "G", False: "N"}, "RXE": {True: "0", False: "1"}}
_REFILLS = {"RXO": 13, "RXE": 12}
_WORDS = ("text", "patientInstruction")
_INDICATION = {"RXO": 20, "RXE": 27}


def prescription_segments(w: Writing, *, encoded: bool) -> list[str]:
    """All segments behind MSH; `encoded` says that it is RDE, whose orders are RXE.

    A request that another one is based on is the original order: in RDE it stands before that one as its RXO, and is
    no order of its own; OMP has the original only.
    """
    requests = w.of("MedicationRequest")
    originals = {id(one): _original(w, one) for one in requests}
    made_of = {id(original) for original in originals.values()}
    lines = of_one_patient(w, requests).segments(w)
    for request in requests:
        if encoded and id(request) not in made_of:
            lines += _prescription(w, request, originals[id(request)])
        elif not encoded and not originals[id(request)]:
            lines += _order(w, request)
    return lines


def _original(w: Writing, request: Json) -> Json:
    for reference in w.items(request, "basedOn"):
        found = w.follow(reference, request)
        if found.get("resourceType") == "MedicationRequest" and found is not request:
            return found
    return {}


class _Parts(NamedTuple):
    """What one request gives: its drug segment, notes, timing and routes."""

    drug: Fields
    notes: list[str]
    timing: Timing
    routes: list[str]


def _prescription(w: Writing, request: Json, original: Json) -> list[str]:
    """One order of RDE: ORC, the original as RXO, and RXE with its notes, timing and routes."""
    top = _top(w, request)
    before: list[str] = []
    if original:
        first = _parts(w, original, "RXO")
        w.skip(original, "identifier", "status", "intent", "authoredOn", "requester", "groupIdentifier")
        before = [segment("RXO", first.drug), *first.notes, *first.routes]
    parts = _parts(w, request, "RXE")
    if not w.options.since("2.5"):
        top[7] = parts.drug[1] = parts.timing.tq
    timed = [parts.timing.tq1(1)] if w.options.since("2.5") else []
    return [segment("ORC", top), *before, segment("RXE", parts.drug), *parts.notes, *timed, *parts.routes]


def _order(w: Writing, request: Json) -> list[str]:
    """One order of OMP: ORC, timing, and RXO with its notes and routes."""
    top = _top(w, request)
    parts = _parts(w, request, "RXO")
    if not w.options.since("2.5"):
        top[7] = parts.timing.tq
    timed = [parts.timing.tq1(1)] if w.options.since("2.5") and any(parts.timing) else []
    return [segment("ORC", top), *timed, segment("RXO", parts.drug), *parts.notes, *parts.routes]


def _top(w: Writing, request: Json) -> Fields:
    w.use(request)
    w.skip(request, "subject", "encounter")
    return orc(w, request, order_numbers(w, request, {}), control_of(w, request), report=False)


def _parts(w: Writing, request: Json, name: str) -> _Parts:
    w.use(request)
    w.skip(request, "subject", "encounter")
    urgent = priority(w, request)
    dosages = w.items(request, "dosageInstruction")
    only = dosages[0] if len(dosages) == 1 else {}  # v2 has room for one dose: a part would pass for the whole
    timing = of_dosage(w, only, urgent) if only else Timing(priority=urgent)
    fields = _drug(w, request, only, name)
    if not fields.get((_RXE if name == "RXE" else _RXO)["least"]):
        w.find("dose_in_words", "MedicationRequest.dosageInstruction")
    said = notes(w, request)
    words = [text for dosage in dosages for part in _WORDS if (text := w.text(dosage, part))]
    said += comments(words, len(said) + 1)
    return _Parts(fields, said, timing, [route for dosage in dosages if (route := _route(w, dosage))])


def _drug(w: Writing, request: Json, dosage: Json, name: str) -> Fields:
    """The fields that RXO and RXE share."""
    places = _RXO if name == "RXO" else _RXE
    kind = full_type(w, "CE")
    fields: Fields = {places["code"]: _medicine(w, request)}
    _dose(w, dosage, places, fields)
    medication = _medication(w, request)
    fields[places["form"]] = concept(w, medication, "form", full=kind)
    words = instructions(w, dosage)
    fields[places["words"]] = f"^{words}" if words else ""
    substitution = w.item(request, "substitution")
    allowed = w.flag(substitution, "allowedBoolean")
    if allowed is not None:
        fields[places["substitute"]] = _SUBSTITUTION[name][allowed]
    dispense = w.item(request, "dispenseRequest")
    amount = w.item(dispense, "quantity")
    if number := digits(amount.get("value")):
        w.skip(amount, "value")
        fields[places["amount"]], fields[places["of"]] = number, unit(w, amount)
    refills = digits(dispense.get("numberOfRepeatsAllowed"))
    if refills:
        w.skip(dispense, "numberOfRepeatsAllowed")
        fields[_REFILLS[name]] = refills
    fields[_INDICATION[name]] = repeated(
        concept(w, {"it": one}, "it", full=kind) for one in w.items(request, "reasonCode")
    )
    if name == "RXE" and w.options.since("2.5"):
        fields[40] = _pharmacy(w, dispense, request)
    if not fields[places["code"]]:
        w.find("code_missing", "MedicationRequest.medication")
    return fields


def _medicine(w: Writing, request: Json) -> str:
    full = full_type(w, "CE")
    found = concept(w, request, "medicationCodeableConcept", full=full)
    medication = _medication(w, request)
    reference = w.item(request, "medicationReference")
    return found or concept(w, medication, "code", full=full) or leaves(("", w.text(reference, "display")))


def _medication(w: Writing, request: Json) -> Json:
    found, _ = w.target(request, "medicationReference", request)
    return found


def _dose(w: Writing, dosage: Json, places: dict[str, int], fields: Fields) -> None:
    """Least and most dose with their one unit; a dose without a unit, or of two, is left to the words."""
    for one in w.items(dosage, "doseAndRate")[:1]:
        whole = w.item(one, "doseRange")
        low = w.item(one, "doseQuantity") or w.item(whole, "low")
        high = w.item(whole, "high")
        least, most = digits(low.get("value")), digits(high.get("value"))
        same = not high or units_of(low) == units_of(high)
        measure = unit(w, low)
        if least and measure and same and not low.get("comparator"):
            fields[places["least"]], fields[places["most"]] = least, most
            fields[places["unit"]] = measure
            take_all(w, low, high)


def _pharmacy(w: Writing, dispense: Json, request: Json) -> str:
    found, reference = w.target(dispense, "performer", request)
    shown = organization(w, found, reference).split("^")[0] if reference else ""
    return f"^{shown}" if shown else ""


def _route(w: Writing, dosage: Json) -> str:
    """RXR: route, site and method."""
    fields: Fields = {}
    fields[1] = concept(w, dosage, "route", full=full_type(w, "CE"))
    fields[2] = concept(w, dosage, "site", full=full_type(w, "CWE" if w.options.since("2.5") else "CE"))
    fields[4] = concept(w, dosage, "method", full=full_type(w, "CWE" if w.options.since("2.5") else "CE"))
    return segment("RXR", fields) if any(fields.values()) else ""
