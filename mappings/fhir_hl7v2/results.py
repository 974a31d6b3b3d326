"""DiagnosticReport and Observation as ORU^R01: a group for each report, and for each result that no report has.

Invariant: every Observation that was sent is written once, under the patient it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.errors import Held
from mappings.fhir_hl7v2.attachments import document
from mappings.fhir_hl7v2.clock import choice
from mappings.fhir_hl7v2.codes import code_of, concept, full_type
from mappings.fhir_hl7v2.contacts import nk1
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.groups import Group, groups_of
from mappings.fhir_hl7v2.leaves import inside, joined, leaf
from mappings.fhir_hl7v2.names import interpreter
from mappings.fhir_hl7v2.notes import comments, notes
from mappings.fhir_hl7v2.observations import Block, put_observation, sub_id
from mappings.fhir_hl7v2.order_numbers import order_numbers
from mappings.fhir_hl7v2.patient import pid
from mappings.fhir_hl7v2.requests import obr_of_request, orc, status_of_report
from mappings.fhir_hl7v2.specimens import source, spm
from mappings.fhir_hl7v2.timing import Timing, of_order
from mappings.fhir_hl7v2.visit import pv1, visit_notes
from mappings.fhir_hl7v2.vocabulary import inverse
from mappings.fhir_hl7v2.whose import mixed, one_patient
from mappings.fhir_hl7v2.writing import Json, Writing, parts_of, word
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_SECTION = (TERMINOLOGY + "v2-0074",)
_WITHOUT = frozenset({"registered", "cancelled", "unknown", "entered-in-error"})
_CATEGORY = (TERMINOLOGY + "observation-category",)


def result_segments(w: Writing) -> list[str]:
    """All segments behind MSH.

    Raises:
        Held: where data of several patients would be mixed, and where there is no result.
    """
    lines: list[str] = []
    owner: dict[int, Group] = {}
    groups = list(groups_of(w))
    for group in groups:
        owner |= {id(result): group for result in group.results}
    patients: dict[str, list[Group]] = {}
    subjects: dict[str, Json] = {}
    for group in groups:
        key, subject = _subject(w, group)
        subjects[key] = subject
        patients.setdefault(key, []).append(group)
    if len(subjects) > 1 and not all(subjects.values()):
        raise mixed()  # without a PID of its own, a group would stand under that of the one before
    for n, (key, own) in enumerate(patients.items(), 1):
        lines += _person(w, subjects[key], own, n)
        for number, group in enumerate(own, 1):
            lines += _order(w, group, number, owner)
    _refuse_empty(groups, lines)
    return lines


def _refuse_empty(groups: Sequence[Group], lines: Sequence[str]) -> None:
    """Hold a message of no result at all, unless each report names none, says that there is none yet, or concludes."""
    if any(line.startswith("OBX|") for line in lines):
        return
    if groups and all(_may_be_empty(one.report) for one in groups):
        return
    raise Held(
        "there is no result in what was sent",
        code="not_convertible",
        where="DiagnosticReport.result",
        advice="Let the sender send the Observations with the report.",
    )


def _may_be_empty(report: Json) -> bool:
    return bool(report) and bool(
        not report.get("result") or word(report, "status") in _WITHOUT or report.get("conclusion")
    )


def _subject(w: Writing, group: Group) -> tuple[str, Json]:
    """The patient of all that is written of a group, by a key; {} for one who was not sent.

    Raises:
        Held: where they are of several patients.
    """
    for key, patient in one_patient(w, _written(w, group)).items():
        return key, patient
    only = w.of("Patient")
    return (str(id(only[0])), only[0]) if len(only) == 1 else ("", {})


def _written(w: Writing, group: Group) -> Iterator[Json]:
    """All of a group that says whom it is about: its resources, and what is written of those they point to."""
    for one in group.all:
        yield one
        for name in ("encounter", "specimen", "derivedFrom"):
            for reference in parts_of(one.get(name)):
                yield w.look(word(reference, "reference"), one) or {}


def _person(w: Writing, patient: Json, groups: Sequence[Group], number: int) -> list[str]:
    """PID with all notes that stand with it, and PV1."""
    if patient:
        w.use(patient)
    encounter = next((found for group in groups for one in group.all if (found := _encounter(w, one))), {})
    lines = pid(w, patient, number)
    notes_too = visit_notes(w, encounter, len(lines)) if encounter else []
    if not w.options.since("2.4"):  # where NK1 stands before the notes
        return [*lines[:1], *nk1(w, patient), *lines[1:], *notes_too, *pv1(w, encounter)]
    return [*lines, *notes_too, *nk1(w, patient), *pv1(w, encounter)]


def _encounter(w: Writing, resource: Json) -> Json:
    found, _ = w.target(resource, "encounter", resource)
    return found if found.get("resourceType") == "Encounter" else {}


def _order(w: Writing, group: Group, number: int, owner: dict[int, Group]) -> list[str]:
    """ORC, OBR and its notes, results, specimens with theirs."""
    report, request = group.report, group.request
    numbers = order_numbers(w, request, report)
    fields: Fields = {1: str(number), 2: numbers.placer.ei, 3: numbers.filler.ei}
    specimens = _specimens(w, group)
    _report_fields(w, group, fields)
    fields[26] = _parent_result(w, group, owner)
    if request.get("code") == report.get("code"):
        w.skip(request, "code")
    obr_of_request(w, request, fields)
    if specimens and not w.options.since("2.5"):
        source(w, specimens[0], fields)
    lines = [segment("ORC", orc(w, request, numbers, "RE", report=True))] if request else []
    lines.append(segment("OBR", fields))
    said = notes(w, request) if request else []
    said += comments(_conclusion(w, report), len(said) + 1)
    timed = of_order(w, request)._replace(priority="") if request else Timing()
    if any(timed) and w.options.since("2.5"):
        said.append(timed.tq1(1))
    return [*lines, *said, *_obx(w, group, specimens)]


def _report_fields(w: Writing, group: Group, fields: Fields) -> None:
    report = group.report
    if not report:
        _loose_fields(w, group, fields)
        return
    w.skip(report, "subject", "encounter", "basedOn", "specimen", "result")
    fields[7], fields[8] = choice(w, report, "effective", "DiagnosticReport")
    fields[24] = _section(w, report)
    fields[25] = status_of_report(w, report, group.results)
    readers = w.items(report, "resultsInterpreter")
    fields[32] = "".join(interpreter(w, w.follow(one, report), one) for one in readers[:1])
    if readers[1:]:
        others = [interpreter(w, w.follow(one, report), one) for one in readers[1:]]
        fields[33] = "~".join(one for one in others if one)
    fill(w, "OBR-DiagnosticReport", report, fields)
    if not fields.get(4):
        w.find("code_missing", "DiagnosticReport.code")


def _loose_fields(w: Writing, group: Group, fields: Fields) -> None:
    """The OBR that v2 demands of a result without a report: its request's code, else its own; no better a status."""
    first = group.results[0]
    if not group.request:
        fields[4] = concept(w, first, "code", full=full_type(w, "CE"))
    fields[7], fields[8] = choice(w, first, "effective", "Observation")
    said = {word(result, "status") for result in group.results}
    only = next(iter(said)) if len(said) == 1 else ""
    fields[25] = {"final": "F", "preliminary": "P", "registered": "I", "corrected": "C", "cancelled": "X"}.get(only, "")
    fields[24] = _section(w, first)
    if not only:
        w.find("status_unknown", "Observation.status")


def _section(w: Writing, resource: Json) -> str:
    """OBR-24: the section's own code, else the nearest of the category, else a code without a system."""
    for category in w.items(resource, "category"):
        if code := code_of(w, category, _SECTION):
            return leaf(code)
        if code := code_of(w, category, _CATEGORY, inverse("section-category")):
            return leaf(code)
        codings = w.items(category, "coding")
        if len(codings) == 1 and "system" not in codings[0]:
            return leaf(code_of(w, category, (None,)))  # type: ignore[arg-type]
    return ""


def _conclusion(w: Writing, report: Json) -> list[str]:
    text = w.text(report, "conclusion")
    return [text.replace("\r\n", "\n").replace("\r", "\n")] if text else []


def _specimens(w: Writing, group: Group) -> list[Json]:
    """The report's specimens, else its request's; and those that only a result names."""
    found: dict[int, Json] = {}
    owners = [group.report] if group.report.get("specimen") else [group.request] if group.request else []
    for owner in (*owners, *group.results):
        for reference in w.items(owner, "specimen"):
            one = w.follow(reference, owner)
            if one.get("resourceType") == "Specimen":
                found[id(one)] = one
    return list(found.values())


def _obx(w: Writing, group: Group, specimens: Sequence[Json]) -> list[str]:
    """Results in their order; of several specimens, each with its results behind it."""
    forms = w.items(group.report, "presentedForm")
    blocks = Block(forms)
    behind: dict[int, Block] = {}
    several = len(specimens) > 1 and w.options.since("2.5")
    for result in group.results:
        sample = w.item(result, "specimen")
        own = w.follow(sample, result) if sample and several else {}
        block = behind.setdefault(id(own), Block()) if own else blocks
        put_observation(w, block, result)
    _rest_of_documents(w, group.report, blocks)
    lines = blocks.lines
    if not w.options.since("2.5"):
        return lines
    for n, specimen in enumerate(specimens, 1):
        lines.append(spm(w, specimen, n))
        block = behind.get(id(specimen), Block())
        lines += block.lines
    return lines


def _rest_of_documents(w: Writing, report: Json, block: Block) -> None:
    """Documents that no result announces: results of the report's own code."""
    for attachment in list(block.documents):
        value = document(w, attachment, "", "DiagnosticReport.presentedForm")
        if not value.text:
            continue
        code = concept(w, report, "code", full=full_type(w, "CE"))
        said = {"final": "F", "preliminary": "P", "corrected": "C", "amended": "C", "appended": "C"}
        block.put({2: value.kind, 3: code, 5: value.text, 11: said.get(word(report, "status"), "")})
    block.documents = []


def _parent_result(w: Writing, group: Group, owner: dict[int, Group]) -> str:
    """OBR-26 (PRL): code, sub-id and value of the organism of another order that these results are about."""
    for result in group.results:
        for reference in w.items(result, "derivedFrom"):
            found = w.follow(reference, result)
            if found and owner.get(id(found)) is not group:
                return _link(w, found)
    return ""


def _link(w: Writing, organism: Json) -> str:
    code = inside(concept(w, organism, "code", full=False))
    value = organism.get("valueCodeableConcept")
    shown = value.get("text") if isinstance(value, dict) else organism.get("valueString")
    return joined((code, sub_id(w, organism), leaf(shown) if isinstance(shown, str) else ""))
