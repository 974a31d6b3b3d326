"""What a FHIR server says beyond a status: its issues, and the header of a message that answers a message.

Only codes of FHIR's closed lists are told, never diagnostics or texts, which may hold a patient's data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.errors import Weight
from engine.model import Outcome

#: http://hl7.org/fhir/ValueSet/issue-type, R4 and R5: nothing else of an issue leaves for an outcome.
ISSUES = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired",
    "forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found",
    "deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule", "conflict",
    "limited-filter", "transient", "lock-error", "no-store", "exception", "timeout", "incomplete",
    "throttled", "informational", "success",
})  # fmt: skip
_TRANSIENT_ISSUES = frozenset({"transient", "lock-error", "no-store", "exception", "timeout", "throttled"})
_RESPONSES = {"transient-error": Weight.TRANSIENT, "fatal-error": Weight.PERMANENT}


def refused_message(body: dict[str, Any], outcome: Outcome) -> Outcome | None:
    """A message that is answered by a message: what its header says (R4, http://hl7.org/fhir/response-code)."""
    entries = body.get("entry") if body.get("resourceType") == "Bundle" and body.get("type") == "message" else None
    first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    head = first.get("resource")
    response = head.get("response") if isinstance(head, dict) else None
    code = str(response.get("code")) if isinstance(response, dict) else ""
    if code not in _RESPONSES:
        return None
    detail = "the message was answered, and its header says that it failed"
    return Outcome(f"{outcome.code} {code}", _RESPONSES[code], answer=outcome.answer, detail=detail)


def issue_of(resource: Any) -> str:
    """The code of the first issue that is an error, where FHIR knows that code."""
    if not isinstance(resource, dict) or not isinstance(resource.get("issue"), list):
        return ""
    for issue in resource["issue"]:
        if isinstance(issue, dict) and str(issue.get("severity")) in {"error", "fatal"}:
            code = str(issue.get("code"))
            return code if code in ISSUES else "unknown-issue"
    return ""


def with_issue(refusal: Outcome, resource: Any) -> Outcome:
    """The same refusal, with the issue's code behind its own."""
    if not (issue := issue_of(resource)):
        return refusal
    return replace(refusal, code=f"{refusal.code} {issue}")


def refuse_for(issue: str, outcome: Outcome) -> Outcome:
    """A positive status with an OperationOutcome that says error is not taken."""
    weight = Weight.TRANSIENT if issue in _TRANSIENT_ISSUES else Weight.PERMANENT
    detail = "a positive status with an OperationOutcome of severity error"
    return Outcome(f"{outcome.code} {issue}", weight, answer=outcome.answer, detail=detail)


def incomplete(outcome: Outcome) -> Outcome:
    """A positive status and nothing that proves it of every entry."""
    detail = "a positive status, but the answer does not name every entry that was sent"
    return Outcome("answer_incomplete", Weight.AMBIGUOUS, answer=outcome.answer, detail=detail)
