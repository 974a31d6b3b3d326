"""The CapabilityStatement of a FHIR source: what may be sent to this channel, and that nothing can be read from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from engine import __version__

_VERSIONS: Mapping[str, str] = {"R4": "4.0.1", "R5": "5.0.0", "STU3": "3.0.2"}
_DATE = "2026-01-05"  # when what is stated here last changed


def capability(version: str, accepted: Iterable[str]) -> bytes:
    """The statement for a FHIR version and the types that the channel's `accept` names; none named means every type."""
    kinds = sorted({name.partition("/")[0] for name in accepted} - {"*", "Bundle"})
    rest: dict[str, Any] = {
        "mode": "server",
        "documentation": "An integration engine: messages are kept and passed on; nothing can be read or searched.",
        "interaction": [{"code": "transaction"}, {"code": "batch"}],
    }
    if kinds:
        rest["resource"] = [_resource(kind) for kind in kinds]
    if version != "STU3":
        definition = "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"
        rest["operation"] = [{"name": "process-message", "definition": definition}]
    statement: dict[str, Any] = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "software": {"name": "Interlock", "version": __version__},
        "implementation": {"description": "A channel of Interlock"},
        "fhirVersion": _VERSIONS[version],
        "format": ["json"],
        "rest": [rest],
    }
    if version == "STU3":
        statement["acceptUnknown"] = "extensions"
    return orjson.dumps(statement)


def _resource(kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "interaction": [{"code": "create"}, {"code": "update"}],
        "conditionalCreate": True,
        "conditionalUpdate": True,
        "updateCreate": True,
    }
