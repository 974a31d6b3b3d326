"""Patient as PID, with the notes behind it."""

from __future__ import annotations

from mappings.fhir_hl7v2.clock import stamp
from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.identifiers import Number, numbers
from mappings.fhir_hl7v2.leaves import leaf, leaves, repeated
from mappings.fhir_hl7v2.notes import annotated
from mappings.fhir_hl7v2.refusals import refuse_record
from mappings.fhir_hl7v2.vocabulary import inverse
from mappings.fhir_hl7v2.writing import Json, Writing, word
from mappings.hl7v2_fhir.vocabulary import STANDARD, TERMINOLOGY

_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"


def pid(w: Writing, patient: Json, number: int = 1) -> list[str]:
    """The PID of a Patient and its NTE; nothing where there is no patient.

    Raises:
        Held: for a record that is not in use.
    """
    if not patient:
        w.find("patient_missing", "Patient")
        return []
    refuse_record(patient)
    w.subjects.append(patient)
    w.skip(patient, "active")
    fields: Fields = {1: str(number)}
    _numbers(w, patient, fields)
    fields[6] = _maiden(w, patient)
    fields[7] = _birth(w, patient)
    for field, name in ((10, "race"), (22, "ethnicity")):
        fields[field] = _core(w, patient, name)
    fields[16] = _marital(w, patient)
    fill(w, "PID-Patient", patient, fields)
    _language(w, patient)
    notes = [w.item(extension, "valueAnnotation") for extension in w.extension(patient, STANDARD + "note")]
    return [segment("PID", fields), *annotated(w, notes)]


def identifiers(w: Writing, patient: Json) -> str:
    """PID-3, MRG-1: every identifier of a patient."""
    return repeated(one.cx for one in numbers(w, patient))


def _numbers(w: Writing, patient: Json, fields: Fields) -> None:
    """PID-3, and the numbers that have fields of their own: the account, and before 2.7 the social security number."""
    found = numbers(w, patient)
    account = next((one for one in found if one.kind == "AN"), None)
    security = next((one for one in found if one.kind == "SS"), None) if not w.options.since("2.7") else None
    rest = [one for one in found if one not in (account, security)]
    fields[3] = repeated(one.cx for one in rest or found)
    if rest:
        fields[18] = account.cx if account else ""
        fields[19] = _security(security)


def _security(number: Number | None) -> str:
    return leaf(number.value) if number else ""


def _maiden(w: Writing, patient: Json) -> str:
    found = [w.text(one, "valueString") for one in w.extension(patient, STANDARD + "patient-mothersMaidenName")]
    return repeated(map(leaf, found))


def _birth(w: Writing, patient: Json) -> str:
    """PID-7: the time of birth where it is known, else the date."""
    for extension in w.extension(w.beside(patient, "birthDate"), STANDARD + "patient-birthTime"):
        if found := stamp(w, extension, "valueDateTime", "Patient.birthDate"):
            w.skip(patient, "birthDate")
            return found
    return stamp(w, patient, "birthDate", "Patient.birthDate")


def _core(w: Writing, patient: Json, name: str) -> str:
    """Race or ethnicity: the detailed and the broad codes, else the text."""
    found: list[str] = []
    text = ""
    for extension in w.extension(patient, _CORE + name):
        for part in w.items(extension, "extension"):
            w.skip(part, "url")
            if part.get("url") == "text":
                text = w.text(part, "valueString")
            elif coding := w.item(part, "valueCoding"):
                found.append(concept(w, {"it": {"coding": [coding]}}, "it", full=False))
    return repeated(found) or (leaves(("", text)) if text else "")


def _marital(w: Writing, patient: Json) -> str:
    """PID-16: the v2 coding where there is one, else the FHIR code read backwards, else what was said."""
    status = w.item(patient, "maritalStatus")
    codings = w.items(status, "coding")
    known = [one for one in codings if word(one, "system").startswith(TERMINOLOGY + "v3-")]
    others = [one for one in codings if one not in known]
    full = full_type(w, "CE")
    if known and others:
        for one in known:
            w.skip(one, "system", "code", "display", "version")
        w.skip(status, "text")
        return concept(w, {"it": {**status, "coding": others}}, "it", full=full)
    for one in known:
        code = one.get("code")
        if isinstance(code, str) and (v2 := inverse("marital-status").get(code)):
            w.skip(one, "system", "code")
            w.skip(status, "text")
            return leaves((v2, w.text(one, "display"), "HL70002"))
    return concept(w, patient, "maritalStatus", full=full)


def _language(w: Writing, patient: Json) -> None:
    """`preferred` of the language that was written says nothing that PID-15 does not."""
    for communication in w.items(patient, "communication")[:1]:
        w.skip(communication, "preferred")
