"""The structure of FHIR R4 output, by fhirkit, which knows R4 itself: elements, types, cardinalities, primitive values.

It is an optional part: `pip install "interlock[validate]"`. Its messages may quote values, so only those that are known
to hold none are told.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

from engine.model import Finding

#: Messages that hold nothing of the message but names of elements and types.
_SAFE = re.compile(
    r"required element missing|unknown element|the key appears more than once|a resource needs a resourceType"
    r"|expected an? [a-z ]+, found an? [a-z ]+|expected an? [a-z ]+, found null"
    r"|an empty \w+ is not allowed; leave the element out"
)
_OTHER = "the value or the type is not one that R4 has here"


def installed() -> bool:
    """True when fhirkit is there."""
    return find_spec("fhirkit") is not None


def structure(raw: bytes) -> list[Finding]:
    """What is wrong with R4 JSON, each with its path; empty when nothing is. About 25 us an Observation.

    Raises:
        ModuleNotFoundError: fhirkit is not installed.
    """
    import fhirkit

    try:
        issues = fhirkit.validate(raw)
    except fhirkit.ParseError:
        return [Finding("structure", "", "it is no JSON object in UTF-8")]
    return [
        Finding("structure", issue.path, issue.message if _SAFE.fullmatch(issue.message) else _OTHER)
        for issue in issues
        if issue.severity == "error"
    ]
