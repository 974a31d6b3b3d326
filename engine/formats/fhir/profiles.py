"""FHIR R4 output against profiles, by pyfhircheck: bindings, invariants, slices, references, and own profiles.

It is an optional part, slow (a second for a large Bundle) and young, so it runs in a process of its own within a time
limit. The definitions are the site's: they cannot be shipped. Only a rule's name and its place are told, no message.
"""

from __future__ import annotations

import contextlib
import io
import json
from functools import cache
from importlib.util import find_spec
from typing import Any

from engine.model import Finding


def installed() -> bool:
    """True when pyfhircheck is there."""
    return find_spec("pyfhircheck") is not None


def profile(folders: tuple[str, ...], raw: bytes) -> list[Finding]:
    """What of R4 JSON breaks a rule of the definitions in these folders, each with its path.

    Raises:
        ModuleNotFoundError: pyfhircheck is not installed.
    """
    try:
        resource = json.loads(raw)
    except ValueError:
        return [Finding("structure", "", "it is no JSON object in UTF-8")]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        report = _validator(folders).validate_resource(resource)
    return [
        Finding(str(issue.code), str(issue.path or ""), f"the rule {issue.code} is broken") for issue in report.errors
    ]


@cache
def _validator(folders: tuple[str, ...]) -> Any:
    """Read the definitions once a process: it takes seconds."""
    from pyfhircheck import Validator
    from pyfhircheck.config import ValidatorConfig

    said = {"fhirVersion": "4.0.1", "terminology": {"mode": "local"}, "localPackagePaths": list(folders)}
    with contextlib.redirect_stdout(io.StringIO()):
        return Validator(ValidatorConfig.load_dict(said))
