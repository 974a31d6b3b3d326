"""Master files and answers: what makes their segments, and which messages hold nothing that FHIR could be made of."""

from __future__ import annotations

from collections.abc import Mapping

from mappings.hl7v2_fhir.resources.answer import acknowledged, entry_done, erred
from mappings.hl7v2_fhir.resources.catalogue import definition, numeric_definition
from mappings.hl7v2_fhir.resources.master_file import entry, place, qualification, staff
from mappings.hl7v2_fhir.standing import Builder

ANSWERS = ("ACK", "BRP", "BRT", "MCF", "MFK", "MFR", "ORA", "ORB", "ORD", "ORN", "ORS", "OSR", "RRI", "SRR")
"""Types that answer another message; those of orders have their own builders."""

MASTER_FILES: Mapping[str, Builder] = {
    "ERR": erred,
    "LOC": place,
    "MFA": entry_done,
    "MFE": entry,
    "MSA": acknowledged,
    "OM1": definition,
    "OM2": numeric_definition,
    "PRA": qualification,
    "STF": staff,
}
"""By segment."""

OF_NO_PATIENT = frozenset({"MFE", "MFI", "MSA", "NPU"})
"""Segments of messages that need no patient: NPU because A20 is about a bed."""

_QUERY = "A query asks for data and holds none; convert the answer to it."
_REQUEST = "A request to a scheduler changes nothing by itself; convert its answer (SRR) or notice (SIU)."
_GENERIC = "A general master file has no segments that say what its entries are."
_PRICES = "A charge master holds prices and nothing clinical."

_DIET = "A diet order names the kitchen's own codes; let the destination take it as HL7 v2."
_STOCK = "A requisition is about stock and supplies, and holds nothing clinical."

WHY_NOT: Mapping[str, str] = {
    **dict.fromkeys(
        ("QBP", "QCN", "QRY", "QSB", "QSX", "QVR", "SQM", "SQR", "VXQ", "MFQ", "NMQ", "OSQ", "RQQ"), _QUERY
    ),
    "OMD": _DIET,
    "OMN": _STOCK,
    "OMS": _STOCK,
    "SRM": _REQUEST,
    "MFN^M01": _GENERIC,
    "MFN^M04": _PRICES,
}
"""Why a type, or one event of it, is never converted."""
