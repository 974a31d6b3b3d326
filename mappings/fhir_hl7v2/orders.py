"""ServiceRequest as OML^O21 and ORM^O01: ORC, timing, OBR, notes, diagnoses, answers and specimens of each order."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.notes import comments, notes
from mappings.fhir_hl7v2.observations import Block, put_observation
from mappings.fhir_hl7v2.order_numbers import order_numbers
from mappings.fhir_hl7v2.persons import Around, of_one_patient
from mappings.fhir_hl7v2.requests import control_of, obr_of_request, orc
from mappings.fhir_hl7v2.specimens import source, spm
from mappings.fhir_hl7v2.timing import of_order
from mappings.fhir_hl7v2.writing import Json, Writing


def order_segments(w: Writing, *, laboratory: bool) -> list[str]:
    """All segments behind MSH; `laboratory` says that it is OML, which has specimens."""
    requests = w.of("ServiceRequest")
    around = of_one_patient(w, requests)
    lines = around.segments(w, contacts=laboratory and w.options.since("2.5"))
    for number, request in enumerate(requests, 1):
        lines += _order(w, request, number, around, laboratory=laboratory)
    return lines


def _order(w: Writing, request: Json, number: int, around: Around, *, laboratory: bool) -> list[str]:
    w.use(request)
    numbers = order_numbers(w, request, {})
    control = control_of(w, request)
    timing = of_order(w, request)
    top = orc(w, request, numbers, control, report=False)
    fields: Fields = {1: str(number), 2: numbers.placer.ei, 3: numbers.filler.ei}
    obr_of_request(w, request, fields)
    if not fields.get(4):
        w.find("code_missing", "ServiceRequest.code")
    specimens = _resources(w, request, "specimen", "Specimen")
    timed: list[str] = []
    if not w.options.since("2.5"):
        top[7] = fields[27] = timing.tq
    elif any(timing):
        timed = [timing.tq1(1)]
    if specimens and not (laboratory and w.options.since("2.5")):
        source(w, specimens[0], fields)
        specimens = []
    said = notes(w, request)
    said += comments(
        [w.text(request, "patientInstruction")] if request.get("patientInstruction") else [], len(said) + 1
    )
    lines = [segment("ORC", top), *(timed if laboratory else []), segment("OBR", fields), *said]
    lines += [spm(w, one, n, ordered=True) for n, one in enumerate(specimens, 1)]
    answers = _answers(w, request)
    return lines[: len(lines) - len(specimens)] + answers + lines[len(lines) - len(specimens) :]


def _answers(w: Writing, request: Json) -> list[str]:
    """Answers at order entry: Observations that the order points to."""
    block = Block()
    for observation in _resources(w, request, "supportingInfo", "Observation"):
        put_observation(w, block, observation)
    return block.lines


def _resources(w: Writing, owner: Json, name: str, kind: str) -> Sequence[Json]:
    found = (w.follow(reference, owner) for reference in w.items(owner, name))
    return [one for one in found if one.get("resourceType") == kind]
