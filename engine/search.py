"""Finds messages by what people know of them: time, channel, type, control id, patient, state.

Invariant: it never walks a table. A search goes by the index of its sharpest term, or by a range of ids, for ids sort
by time; one that names no bound gets the last day, and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.ids import earliest, time_of
from engine.model import show_id
from engine.store.connection import Connection
from engine.store.keyring import HALF, Opener, control_key, patient_key
from engine.store.queries import MessageRow, columns
from engine.wiring import DAY

MOST = 1000
"""The longest page of results."""

LOWEST, HIGHEST = bytes(HALF), b"\xff" * HALF
"""The second half of a receipt key, whoever the sender is."""

STUCK = frozenset({"held", "dead"})
"""States with an index of their own."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; empty terms are not asked. `before` is the `next` of the page before."""

    since: int = 0
    until: int = 0
    channel: str = ""
    type: str = ""
    control_id: str = ""
    patient: str = ""
    state: str = ""
    before: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Found:
    """Messages, newest first. `since` is the bound that was used; `next` asks for the page after, 0 at the end."""

    messages: tuple[MessageRow, ...]
    since: int
    next: int

    def as_dict(self) -> dict[str, Any]:
        """For `interlock search --json`: nothing in it identifies a patient."""
        return {
            "since": self.since,
            "next": show_id(self.next) if self.next else None,
            "messages": [
                {
                    "id": show_id(m.id), "received_at": time_of(m.id), "channel": m.channel, "type": m.type,
                    "state": m.state, "reason": m.reason, "size": m.size,
                    "original": show_id(m.original) if m.original else None,
                }
                for m in self.messages
            ],
        }  # fmt: skip


def search(connection: Connection, opener: Opener, wanted: Search, now: int) -> Found:
    """Look, newest first."""
    since = wanted.since
    if not (since or wanted.control_id or wanted.patient or wanted.state in STUCK):
        since = (wanted.until or now) - DAY
    if not opener.organizations():
        return Found((), since, 0)
    limit = max(1, min(wanted.limit, MOST))
    query, values = plan(opener, wanted, since, limit + 1)
    rows = [MessageRow(*row) for row in connection.execute(query, values)]
    more = len(rows) > limit
    return Found(tuple(rows[:limit]), since, rows[limit - 1].id if more else 0)


def plan(opener: Opener, wanted: Search, since: int, limit: int) -> tuple[str, list[Any]]:
    """The one statement of a search, and its values."""
    terms = ["m.id >= ?", "m.id < ?"]
    values: list[Any] = [earliest(since), _end(wanted)]
    for term, value in _terms(wanted):
        terms.append(term)
        values += value
    for term, value in _hashed(opener, wanted):
        terms.append(term)
        values += value
    where = " AND ".join(terms)
    return (
        f"SELECT {columns(MessageRow, 'm.')} FROM message m{_by(wanted)} WHERE {where} ORDER BY m.id DESC LIMIT ?",
        [*values, limit],
    )


def _by(wanted: Search) -> str:
    """The way in, told to the planner where a statistic it does not have would be needed to choose."""
    if wanted.control_id:
        return " NOT INDEXED"  # by id: the receipt keys name them
    if wanted.patient:
        return " INDEXED BY message_by_patient"
    if wanted.state in STUCK:
        return ""
    return " INDEXED BY message_by_channel" if wanted.channel else " NOT INDEXED"


def _end(wanted: Search) -> int:
    end = earliest(wanted.until) if wanted.until else (1 << 63) - 1
    return min(end, wanted.before) if wanted.before else end


def _terms(wanted: Search) -> list[tuple[str, list[Any]]]:
    terms: list[tuple[str, list[Any]]] = []
    if wanted.channel:
        terms.append(("m.channel = ?", [wanted.channel]))
    if wanted.type:
        kind = wanted.type
        terms.append(("(m.type = ? OR substr(m.type, 1, ?) = ?)", [kind, len(kind) + 1, kind + "^"]))
    if wanted.state in STUCK:
        terms.append((_IN_STUCK, [wanted.state, wanted.state]))
    elif wanted.state:
        terms.append((_IN_STATE, [wanted.state, wanted.state]))
    return terms


_IN_STATE = "(m.state = ? OR EXISTS (SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state = ?))"
#: The messages of a control id, and what was answered for one of them: its duplicates, its refused namesakes.
_NAMED = (
    "m.id IN (SELECT k.message FROM receipt_key k WHERE {under} UNION SELECT r.id FROM receipt_key k"
    " CROSS JOIN message r WHERE r.original = k.message AND ({under}))"
)
_IN_STUCK = (
    "m.id IN (SELECT id FROM message WHERE state = 'held' AND state = ?"
    " UNION SELECT message FROM delivery WHERE open = 2 AND state = ?)"
)


def _hashed(opener: Opener, wanted: Search) -> list[tuple[str, list[bytes]]]:
    """Control ids and patients are found by the search key of every organization that this site holds."""
    keys = [opener.keys(organization) for organization in opener.organizations()]
    found = []
    if wanted.control_id:
        named = [control_key(key, wanted.control_id) for key in keys]
        under = " OR ".join(["k.sent_as BETWEEN ? AND ?"] * len(named))
        bounds = [bound for key in named for bound in (key + LOWEST, key + HIGHEST)]
        found.append((_NAMED.format(under=under), bounds * 2))
    if wanted.patient:
        patients = [patient_key(key, wanted.patient) for key in keys]
        found.append((f"m.patient IN ({','.join('?' * len(patients))})", patients))
    return found
