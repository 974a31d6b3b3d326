"""FHIR R4 to HL7 v2: `message` for whatever was sent, or the converter of one type of message."""

from mappings.fhir_hl7v2.messages import adt, mdm, message, oml, omp, orm, oru, rde, vxu
from mappings.fhir_hl7v2.options import KNOBS

__all__ = ["KNOBS", "adt", "mdm", "message", "oml", "omp", "orm", "oru", "rde", "vxu"]
