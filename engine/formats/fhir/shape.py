"""Whether a FHIR message has the shape of its version: elements, types and cardinalities, resource by resource.

The models of fhir.resources judge a copy that is thrown away: they turn decimals into floats and forgive what FHIR does
not. What they forgive and is cheap to see is checked here beside them: empty elements, base64, and the statuses of R4.
Not checked: bindings but the ones in `_CODES`, invariants, the targets of references, and profiles.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal

from engine.formats.fhir.bundles import Json, entries, objects, text
from engine.model import Finding

Version = Literal["R4", "R5", "STU3"]

#: Where fhir.resources keeps each version. It has no R4: R4B is the same for all types but those of `_OTHERWISE`.
_PACKAGES: Mapping[Version, str] = {
    "R4": "fhir.resources.R4B", "R5": "fhir.resources", "STU3": "fhir.resources.STU3",
}  # fmt: skip
#: R4 types that R4B has changed or does not have: the structure definitions of 4.0.1 compared with the models.
_OTHERWISE = frozenset({
    "EffectEvidenceSynthesis", "Evidence", "EvidenceVariable", "MedicinalProduct",
    "MedicinalProductAuthorization", "MedicinalProductContraindication", "MedicinalProductIndication",
    "MedicinalProductIngredient", "MedicinalProductInteraction", "MedicinalProductManufactured",
    "MedicinalProductPackaged", "MedicinalProductPharmaceutical", "MedicinalProductUndesirableEffect",
    "RiskEvidenceSynthesis", "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein",
    "SubstanceReferenceInformation", "SubstanceSourceMaterial", "SubstanceSpecification",
})  # fmt: skip
_KINDS: Mapping[str, tuple[str, str]] = {
    "missing": ("required", "a required element is missing"),
    "model_field_validation.missing": ("required", "a required element is missing"),
    "extra_forbidden": ("structure", "there is no such element"),
    "value_error": ("value", "the value is not one of its type, or elements exclude each other"),
}
_OTHER = ("value", "the value is not of the element's type")
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")

_RESULT = "registered preliminary final amended corrected cancelled entered-in-error unknown"
_REQUEST = "draft active on-hold revoked completed entered-in-error unknown"
#: Required bindings of R4 that decide what becomes of a message.
_CODES: Mapping[tuple[str, str], frozenset[str]] = {
    place: frozenset(words.split())
    for place, words in {
        ("Observation", "status"): _RESULT,
        ("DiagnosticReport", "status"): _RESULT + " partial appended",
        ("ServiceRequest", "status"): _REQUEST,
        ("ServiceRequest", "intent"): "proposal plan directive order original-order reflex-order filler-order"
        " instance-order option",
        ("MedicationRequest", "status"): "active on-hold cancelled completed entered-in-error stopped draft unknown",
        ("Encounter", "status"): "planned arrived triaged in-progress onleave finished cancelled entered-in-error"
        " unknown",
        ("Specimen", "status"): "available unavailable unsatisfactory entered-in-error",
        ("Patient", "gender"): "male female other unknown",
        ("Bundle", "type"): "document message transaction transaction-response batch batch-response history searchset"
        " collection",
    }.items()
}
_COMPARATORS = frozenset({"<", "<=", ">=", ">"})


def shape(message: Json, version: Version) -> list[Finding]:
    """What is wrong with a message that was read, each with its path; empty when nothing is. Values are never told."""
    found = list(_own(message, message.get("resourceType", ""), version))
    for path, resource in _parts(message):
        found += _modelled(resource, path, version)
    return list({(finding.where, finding.code): finding for finding in found}.values())


def _parts(message: Json) -> Iterator[tuple[str, Json]]:
    """A Bundle's frame and each of its resources apart: one model for all of it would name their places less well."""
    if message.get("resourceType") != "Bundle":
        yield str(message.get("resourceType")), message
        return
    frame = [
        {name: value for name, value in entry.items() if name != "resource"} for entry in objects(message, "entry")
    ]
    yield "Bundle", {**message, "entry": frame} if isinstance(message.get("entry"), list) and frame else message
    for entry in entries(message):
        if entry.resource:
            yield entry.path, entry.resource


def _modelled(resource: Json, path: str, version: Version) -> Iterator[Finding]:
    """What the model of its type says of one resource."""
    kind = text(resource, "resourceType")
    if version == "R4" and kind in _OTHERWISE:
        return
    model = _model(kind, version) if _NAME.fullmatch(kind) else None
    if model is None:
        yield Finding("structure", path, f"{version} has no such resource type")
        return
    try:
        model.model_validate(resource)
    except Exception as error:  # beside its own errors it raises others, such as KeyError for an unknown type inside
        yield from _told(error, path, version)


def _told(error: Exception, path: str, version: Version) -> Iterator[Finding]:
    """An error of a model by its kind and place, without its text, which quotes values."""
    listed = error.errors(include_input=False, include_url=False) if hasattr(error, "errors") else ()
    if not listed:
        yield Finding("structure", path, "a resource or type inside of it is unknown")
    for each in listed:
        if version == "R4" and each["loc"] and each["loc"][-1] == "valueMeta":
            continue  # R4 has Extension.valueMeta, R4B's model does not
        code, words = _KINDS.get(each["type"], _OTHER)
        yield Finding(code, path + "".join(map(_step, each["loc"])), words)


def _step(part: object) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if isinstance(part, str) and _NAME.fullmatch(part) else ".?"


@cache
def _model(kind: str, version: Version) -> Any:
    """The model of a resource type, or None."""
    package = _PACKAGES[version]
    try:
        found = import_module(package).get_fhir_model_class(kind)
    except ValueError:
        return None
    return found if issubclass(found, import_module(f"{package}.resource").Resource) else None


def _own(element: Any, path: str, version: Version) -> Iterator[Finding]:
    """What the models forgive."""
    if element in ("", [], {}) or (isinstance(element, str) and not element.strip()):
        yield Finding("structure", path, "an element is empty; FHIR leaves such elements out")
    elif isinstance(element, dict):
        yield from _own_codes(element, path, version)
        for name, value in element.items():
            place = path + _step(name)
            if value is None:
                yield Finding("structure", place, "null stands for nothing here; FHIR leaves such elements out")
            else:
                yield from _own(value, place, version)
    elif isinstance(element, list):
        for index, value in enumerate(element):
            if value is not None:  # beside a list of extensions: the models know where
                yield from _own(value, f"{path}[{index}]", version)


def _own_codes(element: Json, path: str, version: Version) -> Iterator[Finding]:
    if version == "R4":
        for name in ("status", "intent", "gender", "type"):
            known = _CODES.get((text(element, "resourceType"), name)) if name in element else None
            if known is not None and isinstance(element[name], str) and element[name] not in known:
                yield Finding("code-invalid", f"{path}.{name}", "the code is not one that R4 has here")
        if isinstance(element.get("comparator"), str) and element["comparator"] not in _COMPARATORS:
            yield Finding("code-invalid", f"{path}.comparator", "the code is not one that R4 has here")
    if isinstance(element.get("data"), str) and "contentType" in element and not _is_base64(element["data"]):
        yield Finding("value", f"{path}.data", "the data is not base64")


def _is_base64(data: str) -> bool:
    try:
        binascii.a2b_base64("".join(data.split()).encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        return False
    return True
