"""What FHIR R4 asks of every bundle: its structure, and what neither that nor the published definitions can check.

These rules need nothing but what is installed, and they are fast: every bundle that a test makes goes through them.
Bindings, extensions and the other invariants are for `fhir_validator.py`, which needs the definitions.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Any

import fhirkit
import orjson

ID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.")
COMMON = {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}
STATUSES = {
    "Observation": COMMON,
    "DiagnosticReport": COMMON | {"partial", "appended"},
    "ServiceRequest": {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"},
    "Encounter": {
        "planned",
        "arrived",
        "triaged",
        "in-progress",
        "onleave",
        "finished",
        "cancelled",
        "entered-in-error",
        "unknown",
    },
    "Specimen": {"available", "unavailable", "unsatisfactory", "entered-in-error"},
    "DocumentReference": {"current", "superseded", "entered-in-error"},
    "Immunization": {"completed", "entered-in-error", "not-done"},
    "MedicationRequest": {
        *("active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown"),
    },
    "MedicationDispense": {
        *("preparation", "in-progress", "cancelled", "on-hold", "completed", "entered-in-error", "stopped"),
        *("declined", "unknown"),
    },
    "Appointment": {
        *("proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error"),
        *("checked-in", "waitlist"),
    },
    "Coverage": {"active", "cancelled", "draft", "entered-in-error"},
}
MIME = re.compile(r"[a-z-]+/[A-Za-z0-9.+_-]+(;.*)?")
UNTIMED = {"proposed", "cancelled", "waitlist"}
COMPARATORS = {"<", "<=", ">=", ">"}


def faults(bundle: dict[str, Any]) -> list[str]:
    """Everything wrong with a transaction bundle."""
    return [*_structure(bundle), *_empties(bundle, "Bundle"), *_entries(bundle), *_elements(bundle)]


def _structure(bundle: dict[str, Any]) -> Iterator[str]:
    """The R4 structure of everything: elements, types, cardinalities, formats of dates and numbers."""
    for issue in fhirkit.validate(orjson.dumps(bundle)):
        if issue.severity == "error":
            yield f"{issue.path}: {issue.message}"


def _empties(element: Any, path: str) -> Iterator[str]:
    """Empty strings, arrays and objects, and nulls, are never FHIR."""
    if element in ("", None) or element == [] or element == {}:
        yield f"{path} is empty"
    elif isinstance(element, str) and not element.strip():
        yield f"{path} is blank"
    elif isinstance(element, dict):
        for name, value in element.items():
            yield from _empties(value, f"{path}.{name}")
    elif isinstance(element, list):
        for index, value in enumerate(element):
            yield from _empties(value, f"{path}[{index}]")


def _entries(bundle: dict[str, Any]) -> Iterator[str]:
    """Ids, request URLs, full URLs, and references that all lead to something in the bundle."""
    urls = [entry["request"]["url"] for entry in bundle.get("entry", ())]
    if len(urls) != len(set(urls)):
        yield "one resource is written twice"
    for entry in bundle.get("entry", ()):
        resource, request = entry["resource"], entry["request"]
        if request["method"] == "PUT":
            key = resource["id"]
            if not 1 <= len(key) <= 64 or not set(key) <= ID:
                yield f"{key} is no id"
            if request["url"] != f"{resource['resourceType']}/{key}" or entry["fullUrl"] != f"urn:uuid:{key}":
                yield f"{key} is not where it says"
        for element in walk(resource):
            reference = element.get("reference")
            if isinstance(reference, str) and reference not in urls and not _is_contained(resource, reference):
                yield f"{reference} leads nowhere"


def _is_contained(resource: dict[str, Any], reference: str) -> bool:
    return reference.startswith("#") and any("#" + one["id"] == reference for one in resource.get("contained", ()))


def _elements(bundle: dict[str, Any]) -> Iterator[str]:
    for entry in bundle.get("entry", ()):
        resource = entry["resource"]
        kind = resource["resourceType"]
        if kind in STATUSES and "status" in resource and str(resource["status"]) not in STATUSES[kind]:
            yield f"{kind}.status {resource['status']}"
        if kind == "Observation":
            yield from _observation(resource)
        said = {name.lstrip("_") for name in resource}  # an element with no value but a reason for that is one as well
        if kind == "Appointment" and resource.get("status") not in UNTIMED and not {"start", "end"} <= said:
            yield "app-3: an appointment without start or end"
        for element in walk(resource):
            yield from _element(element)


def _observation(resource: dict[str, Any]) -> Iterator[str]:
    values = [name for name in resource if name.startswith("value")]
    if len(values) > 1:
        yield "two values"
    if values and "dataAbsentReason" in resource:
        yield "obs-6: a value and a reason for its absence"
    if values and any(part.get("code") == resource.get("code") for part in resource.get("component", ())):
        yield "obs-7: a value beside components of the same code"
    if not values and "dataAbsentReason" not in resource and "component" not in resource:
        yield "neither value nor reason"
    for found in resource.get("referenceRange", ()):
        if not found.keys() & {"low", "high", "text"}:
            yield "obs-3: a reference range without content"


def _element(element: dict[str, Any]) -> Iterator[str]:
    if "comparator" in element and element["comparator"] not in COMPARATORS:
        yield "a comparator that is none"
    if "code" in element and "system" not in element and element.keys() & {"unit", "value"}:
        yield "qty-3: a unit code without its system"
    system = element.get("system")
    if isinstance(system, str) and ":" not in system and "code" in element:
        yield f"coding system {system} is no URI"
    for name in ("code", "system", "url"):
        if isinstance(element.get(name), str) and element[name] != element[name].strip():
            yield f"{name} has spaces around it"
    yield from _attachment(element)


def _attachment(element: dict[str, Any]) -> Iterator[str]:
    """att-1, and data that a receiver can decode and name."""
    if "data" in element and "contentType" not in element and not element.keys() & {"origin", "resourceType"}:
        yield "att-1: data without a content type"
    if MIME.fullmatch(element.get("contentType", "text/plain")) is None:
        yield f"content type {element['contentType']} is none"
    if "contentType" in element and "data" in element:
        try:
            binascii.a2b_base64(element["data"], strict_mode=True)
        except (TypeError, binascii.Error):
            yield "data is no base64"


def walk(element: Any) -> Iterator[dict[str, Any]]:
    """Every object inside an element, itself included."""
    if isinstance(element, dict):
        yield element
        for value in element.values():
            yield from walk(value)
    elif isinstance(element, list):
        for value in element:
            yield from walk(value)
