"""HL7 v2 to FHIR R4: `transaction` for a receiver of FHIR, `notice` for a pager."""

from engine.knobs import Knob
from mappings.hl7v2_fhir.bundle import transaction
from mappings.hl7v2_fhir.notice import notice

KNOBS = (
    Knob("require", "list", "", "Segments and fields that must have a map: where they have none, it is held."),
)

__all__ = ["KNOBS", "notice", "transaction"]
