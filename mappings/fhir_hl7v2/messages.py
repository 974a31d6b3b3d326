"""FHIR R4 to HL7 v2: one converter a type of message, and `message`, which chooses by what was sent.

`parsed` is a resource or a Bundle as JSON gives it, with every decimal as a `Decimal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import Held
from engine.model import Converted
from engine.ports import Conversion, Tables
from mappings.fhir_hl7v2.admissions import admission_segments
from mappings.fhir_hl7v2.documents import document_segments
from mappings.fhir_hl7v2.header import Kind, msh
from mappings.fhir_hl7v2.medications import prescription_segments
from mappings.fhir_hl7v2.options import MESSAGES
from mappings.fhir_hl7v2.orders import order_segments
from mappings.fhir_hl7v2.refusals import refuse_bundle, refuse_modified, refuse_used
from mappings.fhir_hl7v2.results import result_segments
from mappings.fhir_hl7v2.vaccinations import vaccination_segments
from mappings.fhir_hl7v2.whose import one_patient
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of

CONTENT_TYPE = "x-application/hl7-v2+er7"

Segments = Callable[[Writing], tuple[Kind, list[str]]]
"""Makes MSH-9 and the segments behind MSH."""


def oru(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """DiagnosticReport and Observation as ORU^R01. Raises `Held` (`not_convertible`), as all of these do."""
    return _converted(parsed, tables, context, _oru)


def oml(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """ServiceRequest as OML^O21, a laboratory order."""
    return _converted(parsed, tables, context, _oml)


def orm(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """ServiceRequest as ORM^O01, a general order of versions before 2.7."""
    return _converted(parsed, tables, context, _orm)


def rde(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """MedicationRequest as RDE^O11, an encoded order to a pharmacy (RDE^O01 before 2.4)."""
    return _converted(parsed, tables, context, _rde)


def omp(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """MedicationRequest as OMP^O09, a prescriber's order, since 2.4."""
    return _converted(parsed, tables, context, _omp)


def adt(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """Patient and Encounter as ADT; held where the event cannot be known."""
    return _converted(parsed, tables, context, _adt)


def mdm(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """DocumentReference as MDM^T02."""
    return _converted(parsed, tables, context, _mdm)


def vxu(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """Immunization as VXU^V04."""
    return _converted(parsed, tables, context, _vxu)


def message(parsed: Any, tables: Tables, context: Conversion) -> Converted:
    """The message that the destination names, else the only one that what was sent can be.

    Raises:
        Held: where it could be several and none is named, and as the conversion of its type.
    """
    return _converted(parsed, tables, context, _any)


def _any(w: Writing) -> tuple[Kind, list[str]]:
    named = w.options.message
    if named:
        return _MAKERS[named](w)
    found = [maker for kinds, maker in _FOCUS if any(w.of(kind) for kind in kinds)]
    if _oru in found and _oml in found:
        found.remove(_oml)  # the request that a report answers
    if not found and (w.of("Patient") or w.of("Encounter")):
        found = [_adt]
    if len(found) == 1:
        return found[0](w)
    raise Held(
        "what was sent could be several messages" if found else "there is nothing in it that a message is made of",
        code="not_convertible",
        where="Bundle.entry",
        advice="Name the message with `conversion.message`, or a converter of one type.",
    )


def _oru(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "DiagnosticReport", "Observation")
    return Kind("ORU", "R01", "ORU_R01"), result_segments(w)


def _oml(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "ServiceRequest")
    _needs_version(w, "OML^O21", since="2.4")
    return Kind("OML", "O21", "OML_O21"), order_segments(w, laboratory=True)


def _orm(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "ServiceRequest")
    _needs_version(w, "ORM^O01", until="2.6")
    return Kind("ORM", "O01", "ORM_O01"), order_segments(w, laboratory=False)


def _rde(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "MedicationRequest")
    event = "O11" if w.options.since("2.4") else "O01"
    return Kind("RDE", event, f"RDE_{event}"), prescription_segments(w, encoded=True)


def _omp(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "MedicationRequest")
    _needs_version(w, "OMP^O09", since="2.4")
    return Kind("OMP", "O09", "OMP_O09"), prescription_segments(w, encoded=False)


def _adt(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "Patient", "Encounter")
    return admission_segments(w)


def _mdm(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "DocumentReference")
    return Kind("MDM", "T02", "MDM_T02"), document_segments(w)


def _vxu(w: Writing) -> tuple[Kind, list[str]]:
    _needs(w, "Immunization")
    return Kind("VXU", "V04", "VXU_V04"), vaccination_segments(w)


_MAKERS: Mapping[str, Segments] = dict(zip(MESSAGES, (_oru, _oml, _orm, _rde, _omp, _mdm, _vxu, _adt), strict=True))
_FOCUS: Sequence[tuple[tuple[str, ...], Segments]] = (
    (("DiagnosticReport", "Observation"), _oru),
    (("ServiceRequest",), _oml),
    (("MedicationRequest",), _rde),
    (("DocumentReference",), _mdm),
    (("Immunization",), _vxu),
)
"""What each message is about. Of two messages for one thing the newer and commoner: OML before ORM, RDE before OMP."""


def _converted(parsed: Any, tables: Tables, context: Conversion, make: Segments) -> Converted:
    """The message, what is lost of the resources, and how many of each type were read."""
    resource = _resource(parsed)
    refuse_bundle(resource)
    w = Writing(resource, tables, context)
    refuse_modified(w)
    kind, lines = make(w)
    refuse_used(w)
    if kind.code != "ORU":  # which has a PID for each patient
        one_patient(w, w.used.values(), written=w.subjects)
    lines.insert(0, msh(w, kind))
    w.report_rest()
    counts: dict[str, int] = {}
    for resource in w.used.values():
        name = kind_of(resource)
        counts[name] = counts.get(name, 0) + 1
    payload = "".join(line + "\r" for line in lines).encode("utf-8")
    return Converted(payload, CONTENT_TYPE, tuple(w.findings), resources=counts)


def _resource(parsed: Any) -> Json:
    if isinstance(parsed, dict) and isinstance(parsed.get("resourceType"), str):
        return parsed
    raise Held("what was sent is no FHIR resource", code="not_convertible", where="resourceType")


def _needs(w: Writing, *kinds: str) -> None:
    if not any(w.of(kind) for kind in kinds):
        raise Held(
            "there is nothing in it that this message is made of",
            code="not_convertible",
            where="Bundle.entry",
            advice=f"It needs {' or '.join(kinds)}.",
        )


def _needs_version(w: Writing, name: str, since: str = "", until: str = "") -> None:
    """Hold what the version has no message for."""
    late = until and w.options.since("2.7")
    if (since and not w.options.since(since)) or late:
        raise Held(
            f"{name} is not in this version of HL7 v2",
            code="not_convertible",
            where="MSH-12",
            advice="Name another converter or version: see docs/fhir-to-hl7v2.md.",
        )
