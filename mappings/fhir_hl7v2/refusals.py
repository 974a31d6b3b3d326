"""What is held of any message: Bundles that are no messages, and modifier elements that HL7 v2 has no words for.

FHIR R4 2.1.0.7.1: an element that is marked `?!` may change the meaning of all the others, so it is never left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.errors import Held
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of, word

_SENT = frozenset({"transaction", "batch", "message", "document", "collection"})
_PUT = ("POST", "PUT")
_PATCHES = ("Binary", "Parameters")  # what a patch is made of: no message is, and the report says that it was left out
_MODIFIED = "Let the sender say it without, or convert it with a function of your own."
_ERROR = "entered-in-error"
_NEVER_FALSE = frozenset({"Encounter", "Specimen", "Medication"})
"""Resources that are written as facts, without a field that takes them back."""


def refuse_bundle(parsed: Json) -> None:
    """Hold a Bundle that is no message, or has entries that create and change nothing.

    FHIR R4 3.3.7: a searchset, history or response tells what was there before. 2.36.5: an entry's request says what is
    done; a deletion or patch is no order and no result.

    Raises:
        Held: for these, for entries without a resource, and for two contents of one id.
    """
    if parsed.get("resourceType") != "Bundle":
        return
    if word(parsed, "type") not in _SENT:
        raise _held(
            "a Bundle of this type is no message to convert", "Bundle.type", f"One of {', '.join(sorted(_SENT))}."
        )
    entries = parsed.get("entry", [])
    if not isinstance(entries, list):
        raise _held("Bundle.entry is no list", "Bundle.entry")
    for entry in entries:
        _refuse_entry(entry)
    _refuse_doubles(entries)


def _refuse_entry(entry: Any) -> None:
    request = entry.get("request") if isinstance(entry, dict) else None
    method = request.get("method", "POST") if isinstance(request, dict) else "POST"
    resource = entry.get("resource") if isinstance(entry, dict) else None
    patched = method == "PATCH" and isinstance(resource, dict) and word(resource, "resourceType") in _PATCHES
    if method not in _PUT and not patched:
        raise _held("a deletion, patch or query cannot be said in this message", "Bundle.entry.request.method",
                    "Filter such Bundles, or convert them with a function of your own.")  # fmt: skip
    if not isinstance(resource, dict) or not word(resource, "resourceType"):
        raise _held("an entry of the Bundle is no resource", "Bundle.entry.resource")


def _refuse_doubles(entries: list[Json]) -> None:
    """One name with two contents: which one a reference means cannot be known."""
    known: dict[str, Json] = {}
    for entry in entries:
        resource = entry["resource"]
        key, url = word(resource, "id"), word(entry, "fullUrl")
        for name in (f"{word(resource, 'resourceType')}/{key}" if key else "", url):
            if name and known.setdefault(name, resource) != resource:
                raise _held("one id stands twice in the Bundle, with different content", "Bundle.entry")


def refuse_modified(w: Writing) -> None:
    """Hold a modifier extension: what is not known of it may change the meaning of everything else (R4 2.4.0.1)."""
    for resource in w.resources:
        if resource.get("implicitRules") or any(_modified(resource)):
            raise _held(
                "a modifier extension or implicit rules change what the resource means", kind_of(resource), _MODIFIED
            )


def _modified(value: Any) -> Iterator[bool]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("modifierExtension"):
                yield True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def refuse_used(w: Writing) -> None:
    """Hold modifier elements of the resources that the message is made of: what must not be done, what never was."""
    for resource in w.used.values():
        kind = kind_of(resource)
        if resource.get("doNotPerform") not in (None, False):
            raise _held("doNotPerform forbids what the message would order", f"{kind}.doNotPerform", _MODIFIED)
        if "doNotPerform" in resource:
            w.skip(resource, "doNotPerform")
        if kind in _NEVER_FALSE and resource.get("status") == _ERROR:
            raise _held("it was entered in error, and the message would write it as true", f"{kind}.status")


def refuse_record(patient: Json) -> None:
    """Hold a Patient that is not in use (`active`) or that another one replaced: PID has no field for either."""
    links = patient.get("link")
    replaced = isinstance(links, list) and any(isinstance(x, dict) and x.get("type") == "replaced-by" for x in links)
    if replaced or patient.get("active") not in (None, True):
        raise _held("the patient's record is not in use", f"Patient.{'link' if replaced else 'active'}",
                    "Let the sender name the record that is in use; a merge is A40.")  # fmt: skip


def _held(text: str, where: str, advice: str = "Let the sender put it right.") -> Held:
    return Held(text, code="not_convertible", where=where, advice=advice)
