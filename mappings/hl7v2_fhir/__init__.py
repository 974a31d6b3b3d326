"""HL7 v2 to FHIR R4: `transaction` for a receiver of FHIR, `notice` for a pager."""

from mappings.hl7v2_fhir.bundle import transaction
from mappings.hl7v2_fhir.notice import notice

__all__ = ["notice", "transaction"]
