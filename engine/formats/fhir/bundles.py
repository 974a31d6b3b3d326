"""What is inside a message: its resources with their places and requests, whatever of it is malformed left out.

The path asks before anything is checked, so nothing here trusts a type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

#: Types that accompany what a message is about, in the order of how little they say of it.
_ACCOMPANYING = ("Device", "Provenance", "Location", "Organization", "Practitioner", "PractitionerRole",
                 "RelatedPerson", "Specimen", "Patient", "Encounter", "MessageHeader")  # fmt: skip
#: Types that a message is about before all others.
_LEADING = ("Composition", "DiagnosticReport", "ServiceRequest", "MedicationRequest", "Task", "Observation")
_SUBJECTS = ("subject", "patient", "for", "beneficiary", "individual")


class Entry(NamedTuple):
    """One resource of a message: its path, its fullUrl and the request that brings it; both empty outside a Bundle."""

    path: str
    resource: Json
    url: str = ""
    request: Json = {}  # noqa: RUF012 -- never written to


def entries(message: Json) -> Iterator[Entry]:
    """The resources of a Bundle, or the one resource; of a deletion an empty one."""
    if message.get("resourceType") != "Bundle":
        yield Entry(str(message.get("resourceType", "")), message)
        return
    for index, entry in enumerate(objects(message, "entry")):
        path = f"Bundle.entry[{index}].resource"
        yield Entry(path, child(entry, "resource"), text(entry, "fullUrl"), child(entry, "request"))


def focus(message: Json) -> str:
    """What a Bundle is about: its leading resource type, else the first that does not merely accompany another."""
    kinds = dict.fromkeys(text(entry.resource, "resourceType") for entry in entries(message))
    kinds.pop("", None)
    leading = [kind for kind in _LEADING if kind in kinds]
    others = [kind for kind in kinds if kind not in _ACCOMPANYING]
    accompanying = [kind for kind in reversed(_ACCOMPANYING) if kind in kinds]
    return next(iter((*leading, *others, *accompanying)), "")


def child(element: Json, name: str) -> Json:
    """An object inside an element, or an empty one."""
    found = element.get(name)
    return found if isinstance(found, dict) else {}


def objects(element: Json, name: str) -> list[Json]:
    """The objects of a list inside an element; one object that should be a list counts as a list of one."""
    found = element.get(name)
    if isinstance(found, dict):
        return [found]
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(element: Json, name: str) -> str:
    """A text inside an element, or an empty one."""
    found = element.get(name)
    return found if isinstance(found, str) else ""


def place(resource: Json) -> str:
    """Where a resource stands below a server's base: `Patient/17`."""
    return f"{text(resource, 'resourceType')}/{text(resource, 'id')}"


def subjects(resource: Json) -> Iterator[Json]:
    """The references of a resource that may name its patient."""
    return (reference for name in _SUBJECTS for reference in objects(resource, name))


def codes(element: Json, name: str) -> Iterator[str]:
    """Every code of CodeableConcepts and Codings inside an element."""
    for concept in objects(element, name):
        for coding in (*objects(concept, "coding"), concept):
            if code := text(coding, "code"):
                yield code
