"""Which patients resources say that they are about: data of one never stand under the PID of another.

A patient is known by the resource that a reference leads to, else by the reference or identifier itself, so one who
was not sent is never taken for one who was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.errors import Held
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of, parts_of, word

#: The element of each type that says whom it is about.
_ABOUT = {
    **dict.fromkeys(
        ("Condition", "DiagnosticReport", "DocumentReference", "Encounter", "MedicationRequest"), "subject"
    ),
    **dict.fromkeys(("Observation", "ServiceRequest", "Specimen"), "subject"),
    "Immunization": "patient",
}
_NO_PERSONS = frozenset({"Device", "Group", "Location", "Substance"})  # where a Specimen may come from


def one_patient(w: Writing, resources: Iterable[Json], *, written: Iterable[Json] = ()) -> dict[str, Json]:
    """The one patient of these resources and of the PID `written`: by a key, the Patient or {}; none is no entry.

    Raises:
        Held: where they are about several patients: their data would be mixed in one message.
    """
    found = {str(id(patient)): patient for patient in written}
    for resource in resources:
        for key, patient in _said(w, resource):
            same = next((known for known, other in found.items() if patient and other == patient), key)
            found.setdefault(same, patient)
    if len(found) > 1:
        raise mixed()
    return found


def mixed() -> Held:
    """The error of data of several patients where there is room for one."""
    return Held(
        "it is about several patients, and the message has room for one",
        code="not_convertible",
        where="Patient",
        advice="Let the sender send a Bundle for each patient, and every Patient with its results.",
    )


def _said(w: Writing, resource: Json) -> Iterator[tuple[str, Json]]:
    kind = kind_of(resource)
    for reference in parts_of(resource.get(_ABOUT.get(kind, ""))):
        url = word(reference, "reference")
        found = w.look(url, resource) if url else _by_identifier(w, reference)
        target = kind_of(found) if found else word(reference, "type") or url.rpartition("/")[0].rpartition("/")[2]
        if kind == "Specimen" and target in _NO_PERSONS:
            continue
        if found:
            yield str(id(found)), found if target == "Patient" else {}
        elif url:
            yield f"reference {url.partition('/_history/')[0]}", {}
        elif identifier := _identity(reference.get("identifier")):
            yield f"identifier {identifier}", {}


def _by_identifier(w: Writing, reference: Json) -> Json | None:
    """The Patient that has just the identifier, system and value."""
    wanted = _identity(reference.get("identifier"))
    return next((one for one in w.of("Patient") if wanted and wanted in _identities(one)), None)


def _identities(patient: Json) -> list[tuple[str, str] | None]:
    return [_identity(one) for one in parts_of(patient.get("identifier"))]


def _identity(identifier: object) -> tuple[str, str] | None:
    if not isinstance(identifier, dict) or not word(identifier, "value"):
        return None
    return word(identifier, "system"), word(identifier, "value")
