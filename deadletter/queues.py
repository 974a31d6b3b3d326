"""Lists what waits for a person: held messages, stuck and doubtful deliveries, and open items.

Invariant: a list of letters shows nothing that identifies a patient; every list is bounded and finds its rows by an
index. An item says what it is about, for whoever may open the store: a code, a unit, a field.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import orjson

from deadletter.reasons import Reason, explain
from engine.model import show_id
from engine.store.connection import Connection
from engine.store.keyring import Opener
from engine.store.sealing import place
from engine.trace import Trace, trace

MOST = 1000
"""The longest page of a list."""
NEWEST = (1 << 63) - 1

HELD_MESSAGES = (
    "SELECT 'message', id, id, channel, '', type, state, reason, changed_at, 0 FROM message"
    " WHERE state = 'held' AND id < ? AND (? = '' OR channel = ?) AND (? = '' OR reason = ?) ORDER BY id DESC LIMIT ?"
)
_DELIVERIES = (
    "SELECT 'delivery', d.id, d.message, d.channel, d.destination, m.type, d.state, d.reason, d.changed_at, d.attempts"
    " FROM delivery d CROSS JOIN message m WHERE m.id = d.message AND {state} AND d.id < ?"
    " AND (? = '' OR d.channel = ?) AND (? = '' OR d.reason = ?) ORDER BY d.id DESC LIMIT ?"
)
HELD_DELIVERIES = _DELIVERIES.format(state="d.open = 2 AND d.state = 'held'")
DEAD_DELIVERIES = _DELIVERIES.format(state="d.open = 2 AND d.state = 'dead'")
DOUBTFUL_DELIVERIES = _DELIVERIES.format(state="d.state = 'in doubt'")
OPEN_ITEMS = (
    "SELECT id, organization, channel, code, count, opened_at, latest_at, message, delivery, sealed FROM item"
    " WHERE closed_at IS NULL AND (? = '' OR channel = ?) AND (? = '' OR code = ?) ORDER BY latest_at DESC LIMIT ?"
)
_STATES: dict[str, tuple[str, ...]] = {
    "": (HELD_MESSAGES, HELD_DELIVERIES, DEAD_DELIVERIES, DOUBTFUL_DELIVERIES),
    "held": (HELD_MESSAGES, HELD_DELIVERIES),
    "dead": (DEAD_DELIVERIES,),
    "in doubt": (DOUBTFUL_DELIVERIES,),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list; empty terms are not asked. `before` is the `next` of the page before."""

    channel: str = ""
    reason: str = ""
    state: Literal["", "held", "dead", "in doubt"] = ""
    before: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """One message or delivery that stands still. Times in microseconds."""

    kind: Literal["message", "delivery"]
    id: int
    message: int
    channel: str
    destination: str
    type: str
    state: str
    reason: str
    since: int
    attempts: int

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, with the reason explained."""
        why = explain(self.reason)
        shown = {**asdict(self), "id": show_id(self.id), "message": show_id(self.message)}
        return {**shown, "meaning": why.meaning, "advice": why.advice, "replay": why.replay}


@dataclass(frozen=True, slots=True)
class Item:
    """Something to look at although its messages went on: one row for each subject, counted."""

    id: int
    organization: str
    channel: str
    code: str
    count: int
    opened_at: int
    latest_at: int
    message: int
    delivery: int
    about: Mapping[str, str]  # where, text, subject (such as the local code) and table

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        ids = {name: show_id(getattr(self, name)) for name in ("id", "message", "delivery")}
        return {**asdict(self), **ids, "about": dict(self.about)}


@dataclass(frozen=True, slots=True)
class Letters:
    """One page, newest first; `next` asks for the page after, 0 at the end."""

    letters: tuple[Letter, ...]
    next: int

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"letters": [one.as_dict() for one in self.letters], "next": show_id(self.next) if self.next else None}


@dataclass(frozen=True, slots=True)
class Shown:
    """One dead letter: its trace, and for each part that stands still what its reason means."""

    trace: Trace
    reasons: tuple[Reason, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.trace.as_dict(), "reasons": [asdict(reason) for reason in self.reasons]}


def letters(connection: Connection, wanted: Wanted) -> Letters:
    """What stands still, newest first."""
    limit = max(1, min(wanted.limit, MOST))
    with connection.snapshot():
        pages = [_page(connection, query, wanted, limit + 1) for query in _STATES[wanted.state]]
        found = list(islice(heapq.merge(*pages, key=lambda letter: -letter.id), limit + 1))
    return Letters(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else 0)


def items(connection: Connection, opener: Opener, channel: str = "", code: str = "", limit: int = 100) -> list[Item]:
    """Open items, the latest first, each with what it is about."""
    values = (channel, channel, code, code, max(1, min(limit, MOST)))
    return [_item(opener, row) for row in connection.execute(OPEN_ITEMS, values)]


def _item(opener: Opener, row: tuple[Any, ...]) -> Item:
    number, organization, channel, code, count, opened_at, latest_at, message, delivery, sealed = row
    about = orjson.loads(opener.keys(organization).open(sealed, place(organization, number, "item")))
    return Item(number, organization, channel, code, count, opened_at, latest_at, message, delivery, about)


def show(connection: Connection, opener: Opener | None, number: int) -> Shown:
    """One letter with its whole story; `opener` None leaves what is sealed closed.

    Raises:
        NotFound: nothing has this id.
    """
    found = trace(connection, opener, number)
    codes = [found.message.reason] if found.message.state == "held" else []
    codes += [d.row.reason for d in found.deliveries if d.row.state in ("held", "dead", "in doubt")]
    return Shown(found, tuple(explain(code) for code in dict.fromkeys(codes)))


def _page(connection: Connection, query: str, wanted: Wanted, limit: int) -> Iterator[Letter]:
    before = wanted.before or NEWEST
    values = (before, wanted.channel, wanted.channel, wanted.reason, wanted.reason, limit)
    return (Letter(*row) for row in connection.execute(query, values))
