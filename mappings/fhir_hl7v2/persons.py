"""The one patient, and the one visit, that a message is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mappings.fhir_hl7v2.contacts import nk1
from mappings.fhir_hl7v2.patient import pid
from mappings.fhir_hl7v2.visit import pv1, visit_notes
from mappings.fhir_hl7v2.whose import one_patient
from mappings.fhir_hl7v2.writing import Json, Writing


class Around(NamedTuple):
    """Patient and Encounter; {} where there is none."""

    patient: Json
    encounter: Json

    def segments(self, w: Writing, *, visit: bool = False, contacts: bool = False) -> list[str]:
        """PID with the notes of both, and PV1; with `visit`, one that says nothing where there is no Encounter."""
        lines = pid(w, self.patient)
        more = visit_notes(w, self.encounter, len(lines)) if self.encounter else []
        place = pv1(w, self.encounter) or (["PV1|1|N"] if visit else [])
        return [*lines, *more, *(nk1(w, self.patient) if contacts else ()), *place]


def of_one_patient(w: Writing, resources: Sequence[Json]) -> Around:
    """Whom these resources are about, and in which visit.

    Raises:
        Held: where they are about several patients: their data would be mixed in one message.
    """
    _targets(w, resources, ("subject", "patient"), "Patient")  # counts as read
    found = one_patient(w, resources)
    patients = [patient for patient in found.values() if patient]
    if not found and len(w.of("Patient")) == 1:
        patients = w.of("Patient")
    visits = _targets(w, resources, ("encounter",), "Encounter")
    patient = w.use(patients[0]) if patients else {}
    return Around(patient, w.use(visits[0]) if visits else {})


def _targets(w: Writing, resources: Sequence[Json], names: Sequence[str], kind: str) -> list[Json]:
    found: dict[int, Json] = {}
    for resource in resources:
        for name in names:
            if name in resource:
                one, _ = w.target(resource, name, resource)
                if one.get("resourceType") == kind:
                    found[id(one)] = one
    return list(found.values())
