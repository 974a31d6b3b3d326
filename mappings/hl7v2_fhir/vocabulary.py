"""The fixed code maps of HL7 v2 to FHIR R4, read once from the shipped tables.

Data, not code: which v2 code means which FHIR code stands in mappings/tables/*.csv and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mappings.lookup import SHIPPED
from mappings.tables import read_table

Json = dict[str, Any]
"""A FHIR element or resource as it will be written."""


@lru_cache
def codes_of(name: str) -> dict[str, str]:
    """The codes of a shipped table: local code to FHIR code."""
    return {code: mapped.code for code, mapped in read_table(SHIPPED / f"{name}.csv").plain.items()}


@lru_cache
def codings_of(name: str) -> dict[str, Json]:
    """A shipped table as whole codings."""
    return {
        code: {"system": mapped.system, "code": mapped.code, "display": mapped.display}
        for code, mapped in read_table(SHIPPED / f"{name}.csv").plain.items()
    }


OBSERVATION_STATUS: Mapping[str, str] = codes_of("observation-status")
REPORT_STATUS: Mapping[str, str] = codes_of("report-status")
ORDER_STATUS: Mapping[str, str] = codes_of("order-status")
ORDER_CONTROL: Mapping[str, str] = codes_of("order-control")
MEDICATION_CONTROL: Mapping[str, str] = codes_of("medication-control")
MEDICATION_STATUS: Mapping[str, str] = codes_of("medication-status")
DISPENSE_STATUS: Mapping[str, str] = codes_of("dispense-order-status")
ADMINISTRATION_STATUS: Mapping[str, str] = codes_of("administration-status")
ADMINISTRATION_ORDER_STATUS: Mapping[str, str] = codes_of("administration-order-status")
REQUEST_CONTROL: Mapping[str, str] = codes_of("request-control")
TASK_STATUS: Mapping[str, str] = codes_of("task-status")
SEX: Mapping[str, str] = codes_of("administrative-sex")
NAME_USE: Mapping[str, str] = codes_of("name-use")
ADDRESS_USE: Mapping[str, str] = codes_of("address-use")
TELECOM_SYSTEM: Mapping[str, str] = codes_of("telecom-system")
TELECOM_USE: Mapping[str, str] = codes_of("telecom-use")
PRIORITY: Mapping[str, str] = codes_of("priority")
ISO_UNITS: Mapping[str, str] = codes_of("iso-plus-units")
TIME_UNITS: Mapping[str, str] = codes_of("time-units")
EVENT_TIMING: Mapping[str, str] = codes_of("event-timing")
ATTACHMENT_TYPE: Mapping[str, str] = codes_of("attachment-type")
MEDIA_GROUP: Mapping[str, str] = codes_of("media-group")
CODE_SYSTEMS: Mapping[str, str] = codes_of("code-systems")
IDENTIFIER_SYSTEMS: Mapping[str, str] = codes_of("identifier-systems")
INTERPRETATION: Mapping[str, Json] = codings_of("interpretation")
ENCOUNTER_EVENT: Mapping[str, str] = codes_of("encounter-event")
SUGGESTED: Mapping[str, Json] = codings_of("suggested-codes")
PATIENT_CLASS: Mapping[str, Json] = codings_of("patient-class")
MARITAL_STATUS: Mapping[str, Json] = codings_of("marital-status")
TASK_CODE: Mapping[str, Json] = codings_of("task-code")
CONFIDENTIALITY: Mapping[str, Json] = codings_of("confidentiality")
REPEAT_PATTERN: Mapping[str, Json] = codings_of("repeat-pattern")
DIAGNOSIS_ROLE: Mapping[str, Json] = codings_of("diagnosis-role")
RELATIONSHIP: Mapping[str, Json] = codings_of("relationship")
INSURED: Mapping[str, Json] = codings_of("patient-to-insured")
RELIGION: Mapping[str, Json] = codings_of("religion")
RACE_CATEGORY: Mapping[str, Json] = codings_of("race-category")
ETHNICITY_CATEGORY: Mapping[str, Json] = codings_of("ethnicity-category")
SECTION: Mapping[str, Json] = codings_of("diagnostic-section")
SECTION_CATEGORY: Mapping[str, Json] = codings_of("section-category")

#: Types of message that only bring results: who and where stands in them is their setting.
RESULTS = frozenset({"ORU", "OUL"})

#: Observation statuses of HL7 table 0085 that the FHIR code says completely: the others keep the v2 code beside it.
EXACT_STATUS = frozenset("ACFP")

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
STANDARD = "http://hl7.org/fhir/StructureDefinition/"
OWN = "https://interlock.example/fhir/StructureDefinition/"
"""Where this project's own extensions are named: v2-time, v2-unit, v2-status."""

UCUM = "http://unitsofmeasure.org"
US_NPI = "http://hl7.org/fhir/sid/us-npi"
US_SSN = "http://hl7.org/fhir/sid/us-ssn"
CLIA = "urn:oid:2.16.840.1.113883.4.7"


def absent(reason: str) -> Json:
    """A dataAbsentReason."""
    return {"coding": [{"system": TERMINOLOGY + "data-absent-reason", "code": reason}]}


def absent_extension(reason: str) -> Json:
    """The extension that stands where a required element has no value."""
    return {"url": STANDARD + "data-absent-reason", "valueCode": reason}


@lru_cache(maxsize=256)
def typed(code: str) -> Json:
    """The type of an identifier: a code of HL7 table 0203, or words; shared, so nobody may change it."""
    if " " in code:
        return {"text": code}
    return {"coding": [{"system": TERMINOLOGY + "v2-0203", "code": code}]}


def own_text(name: str, text: str) -> Json:
    """An extension of this project that keeps text which FHIR has no element for."""
    return {"url": OWN + name, "valueString": text}
