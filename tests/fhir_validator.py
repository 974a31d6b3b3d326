"""What the published FHIR R4 definitions and this project's own extensions say of a resource, offline.

The validator checks bindings, invariants, reference targets and extensions, which the structural rules do not. Every
fault has a rule: what was broken and where, without indexes and values, so that faults can be counted and reviewed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pyfhircheck import Validator
from pyfhircheck.config import ValidatorConfig
from pyfhircheck.models import Severity, ValidationIssue

from mappings.hl7v2_fhir.vocabulary import OWN
from tests.fhir_definitions import definitions
from tests.own_extensions import PROFILES

__all__ = ["OWN", "US_CORE_PATIENT", "Fault", "faults"]

US_CORE_PATIENT = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"
_SAME_RULE = dict.fromkeys(("profile.cardinality.min", "profile.element.cardinality.min"), "profile.required")
_EXTENSION = re.compile(r"The extension (\S+) could not be found")
_INDEX = re.compile(r"\[\d+\]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Fault(NamedTuple):
    """One error: its rule as `code path`, or `extension.unknown URL`, and what the validator says of it."""

    rule: str
    message: str


@lru_cache(maxsize=1)
def validator() -> Validator:
    """The validator with every definition it needs; skips the test where they were not fetched."""
    config = {
        "fhirVersion": "4.0.1",
        "terminology": {"mode": "local"},
        "localPackagePaths": [str(definitions()), str(PROFILES)],
    }
    return Validator(ValidatorConfig.load_dict(config))


def faults(resource: dict[str, Any], *profiles: str) -> tuple[Fault, ...]:
    """The errors in one resource, by its type's definition and profiles; what says the same is judged once."""
    if profiles:
        resource = {**resource, "meta": {**resource.get("meta", {}), "profile": list(profiles)}}
    return _faults(_same(resource))


@lru_cache(maxsize=100_000)
def _faults(text: str) -> tuple[Fault, ...]:
    with contextlib.redirect_stdout(io.StringIO()):  # FHIRPath's trace() prints
        report = validator().validate_resource(json.loads(text))
    return tuple({fault.rule: fault for fault in _read(report.issues, text)}.values())


def _read(issues: Iterable[ValidationIssue], text: str) -> Iterator[Fault]:
    for issue in issues:
        path = _INDEX.sub("", issue.path or issue.resource_type or "")
        if issue.severity is Severity.ERROR and not _is_the_validator_s(issue.code, path, text):
            if url := _EXTENSION.match(issue.message):
                path = url[1]
            yield Fault(f"{_SAME_RULE.get(issue.code, issue.code)} {path}", issue.message)


def _is_the_validator_s(code: str, path: str, text: str) -> bool:
    """True for what the validator gets wrong, or asks for beyond FHIR.

    Inside an element it knows neither that a primitive may have an extension instead of a value (FHIR R4 2.6.2, JSON:
    `_endpoint` for `endpoint`), nor a choice (`item[x]`); the structural rules know both. Of a slice of extensions it
    counts those of other URLs too. Its rules named `custom` are its own. An invariant that it cannot evaluate (app-3)
    is one of the structural rules.
    """
    leaf = path.rpartition(".")[2]
    if code == "profile.slice.cardinality.max":
        return ".extension:" in path
    if code == "element.unknown":
        return leaf.startswith("_")
    if leaf.endswith("[x]"):
        return code == "cardinality.min" and re.search(f'"{leaf[:-3]}[A-Z]', text) is not None
    return code.startswith(("custom.", "invariant.unsupported.")) or (
        code.endswith("cardinality.min") and f'"_{leaf}":' in text
    )


def _same(resource: dict[str, Any]) -> str:
    """The resource as text without what tells it from others that say the same: its id, and whom it refers to."""
    said = {"id": "0", **{name: value for name, value in resource.items() if name != "id"}}
    return _UUID.sub("00000000-0000-0000-0000-000000000000", json.dumps(said, sort_keys=True))
