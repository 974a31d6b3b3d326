"""Results that come late: a preliminary report that is older than the final one its receiver already has.

The order of lanes keeps what a sender sent in order; it cannot help where the sender itself sends an old report after
the new one. Late is only what both sides prove: the receiver's is final, and issued after the one to be sent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

#: Statuses that a report has before its results are final (R4, DiagnosticReport.status and Observation.status).
_UNFINISHED = frozenset({"registered", "partial", "preliminary"})
_FINISHED = frozenset({"final", "amended", "corrected", "appended"})
_MARKS = tuple(f'"{status}"'.encode() for status in _UNFINISHED)
#: More reports than these in one message are not asked for: it is written as it came.
MOST = 10


def may_be_late(payload: bytes) -> bool:
    """True when the payload has an unfinished status: everything else is never read for this."""
    return any(mark in payload for mark in _MARKS)


def unfinished(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """What decides: the reports that are put by their id, or without a report the results; none where any is final."""
    puts = [one for one in _puts(resource) if isinstance(one.get("id"), str)]
    reports = [one for one in puts if one.get("resourceType") == "DiagnosticReport"]
    deciding = reports or [one for one in puts if one.get("resourceType") == "Observation"]
    if not 0 < len(deciding) <= MOST or not all(str(one.get("status")) in _UNFINISHED for one in deciding):
        return []
    return deciding


def is_late(sent: dict[str, Any], kept: dict[str, Any]) -> bool:
    """True when the receiver's is finished and was issued after the one to be sent."""
    if str(kept.get("status")) not in _FINISHED:
        return False
    before, after = _instant(sent.get("issued")), _instant(kept.get("issued"))
    return before is not None and after is not None and before < after


def _puts(resource: dict[str, Any]) -> list[dict[str, Any]]:
    if resource.get("resourceType") != "Bundle":
        return [resource]
    entries = resource.get("entry")
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [each["resource"] for each in found if _is_put(each)]


def _is_put(entry: dict[str, Any]) -> bool:
    request, resource = entry.get("request"), entry.get("resource")
    return isinstance(request, dict) and request.get("method") == "PUT" and isinstance(resource, dict)


def _instant(text: Any) -> datetime | None:
    """An instant with its offset; None for anything else, for a time without one cannot be compared."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
