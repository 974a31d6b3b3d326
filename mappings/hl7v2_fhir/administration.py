"""Patient administration: what makes the segments of ADT, BAR, PPR and REF that a map alone cannot say."""

from __future__ import annotations

from collections.abc import Mapping

from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.diagnosis import diagnosis
from mappings.hl7v2_fhir.resources.encounter import further_visit
from mappings.hl7v2_fhir.resources.insurance import guarantor, insurance, insurance_more
from mappings.hl7v2_fhir.resources.location import bed
from mappings.hl7v2_fhir.resources.merge import merge, next_visit
from mappings.hl7v2_fhir.resources.problems import variance
from mappings.hl7v2_fhir.resources.procedure import procedure
from mappings.hl7v2_fhir.resources.relatives import next_of_kin
from mappings.hl7v2_fhir.resources.roles import prd, prt, rol
from mappings.hl7v2_fhir.standing import Builder
from mappings.hl7v2_fhir.structure import Noted


def _visit(reading: Reading, pv1: Noted) -> None:
    further_visit(reading, pv1)
    next_visit(reading)


ADMINISTRATION: Mapping[str, Builder] = {
    "DG1": diagnosis,
    "GT1": guarantor,
    "IN1": insurance,
    "IN2": insurance_more,
    "MRG": merge,
    "NK1": next_of_kin,
    "NPU": bed,
    "PR1": procedure,
    "PRD": prd,
    "PRT": prt,
    "PV1": _visit,
    "ROL": rol,
    "VAR": variance,
}
"""By segment."""
