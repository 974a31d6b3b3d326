"""HL7 v2 to FHIR R4: `transaction` for a receiver of FHIR, `notice` for a pager."""

from engine.knobs import Knob
from mappings.hl7v2_fhir.bundle import transaction
from mappings.hl7v2_fhir.notice import notice
from mappings.hl7v2_fhir.site_maps import check_maps

KNOBS = (
    Knob("provenance", "flag", False, "Write a MessageHeader and the Provenance of all that is written."),
    Knob("original", "choice", "", "Write the message as it came, too.", ("", "Binary", "DocumentReference")),
    Knob("require", "list", "", "Segments and fields that must have a map: where they have none, it is held."),
)

__all__ = ["KNOBS", "check_maps", "notice", "transaction"]
