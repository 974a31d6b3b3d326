"""Traces one message: how it came, what decided its way, every attempt and answer, and what people did with it.

Invariant: it shows what the store holds and changes nothing; without an `Opener` it opens nothing that is sealed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engine.errors import NotFound
from engine.ids import time_of
from engine.model import show_id
from engine.store import queries
from engine.store.connection import Connection
from engine.store.keyring import Opener
from engine.store.queries import AttemptRow, DeliveryRow, EventRow, MessageRow
from engine.store.sealing import place


@dataclass(frozen=True, slots=True)
class TracedAttempt:
    """One attempt: when, under which revisions, what came of it, and the bytes where they may be opened.

    `repeats` says that an earlier attempt's stored output was sent again, byte for byte.
    """

    row: AttemptRow
    output: bytes | None
    answer: bytes | None

    @property
    def repeats(self) -> bool:
        """True when the bytes of an earlier attempt were sent again."""
        return self.row.output != self.row.id


@dataclass(frozen=True, slots=True)
class TracedDelivery:
    """One destination's part: the rule that routed it, its place in its lane, where it stands and why."""

    row: DeliveryRow
    attempts: tuple[TracedAttempt, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything there is to see of one message. `raw` is None where nothing is kept or nothing may be opened."""

    message: MessageRow
    raw: bytes | None
    original: MessageRow | None
    successors: tuple[MessageRow, ...]
    deliveries: tuple[TracedDelivery, ...]
    events: tuple[EventRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `interlock trace --json`: ids as people read them, times in microseconds, bytes as text."""
        return {
            "message": _message(self.message),
            "raw": _text(self.raw),
            "original": _message(self.original) if self.original else None,
            "successors": [_message(row) for row in self.successors],
            "deliveries": [_delivery(delivery) for delivery in self.deliveries],
            "events": [asdict(event) for event in self.events],
        }


def trace(connection: Connection, opener: Opener | None, number: int) -> Trace:
    """Trace a message by its id or by the id of one of its deliveries; `opener` None leaves sealed values closed.

    Raises:
        NotFound: nothing has this id.
    """
    with connection.snapshot():
        message = _find(connection, number)
        original = queries.message(connection, message.original) if message.original else None
        return Trace(
            message,
            _opened(connection, opener, message.organization, message.id, "raw"),
            original,
            tuple(queries.successors(connection, message.id)),
            tuple(
                _trace_delivery(connection, opener, message.organization, row)
                for row in queries.deliveries(connection, message.id)
            ),
            tuple(queries.events(connection, message.id)),
        )


def _find(connection: Connection, number: int) -> MessageRow:
    found = queries.message(connection, number)
    if found is None:
        delivery = queries.delivery(connection, number)
        found = queries.message(connection, delivery.message) if delivery else None
    if found is None:
        raise NotFound(f"nothing here has the id {show_id(number)}", advice="Look for it with `interlock search`.")
    return found


def _trace_delivery(
    connection: Connection, opener: Opener | None, organization: str, row: DeliveryRow
) -> TracedDelivery:
    attempts = tuple(
        TracedAttempt(
            attempt,
            _opened(connection, opener, organization, attempt.output, "output"),
            _answer(opener, organization, attempt),
        )
        for attempt in queries.attempts(connection, row.id)
    )
    return TracedDelivery(row, attempts, tuple(queries.events(connection, row.id)))


def _opened(connection: Connection, opener: Opener | None, organization: str, owner: int, field: str) -> bytes | None:
    sealed = queries.sealed(connection, owner) if opener else None
    if opener is None or sealed is None:
        return None
    return opener.keys(organization).open(sealed, place(organization, owner, field))


def _answer(opener: Opener | None, organization: str, attempt: AttemptRow) -> bytes | None:
    if opener is None or attempt.answer is None:
        return None
    return opener.keys(organization).open(attempt.answer, place(organization, attempt.id, "answer"))


def _message(row: MessageRow) -> dict[str, Any]:
    shown = {**asdict(row), "id": show_id(row.id), "received_at": time_of(row.id)}
    return {**shown, "original": show_id(row.original) if row.original else None}


def _delivery(delivery: TracedDelivery) -> dict[str, Any]:
    row = delivery.row
    shown = {**asdict(row), "id": show_id(row.id), "message": show_id(row.message), "lane": row.lane.hex()}
    shown["barrier"] = row.barrier.hex() if row.barrier else None
    shown["attempt"] = show_id(row.attempt) if row.attempt else None
    shown["events"] = [asdict(event) for event in delivery.events]
    return {**shown, "tries": [_attempt(attempt) for attempt in delivery.attempts]}


def _attempt(attempt: TracedAttempt) -> dict[str, Any]:
    row = attempt.row
    shown = {**asdict(row), "id": show_id(row.id), "delivery": show_id(row.delivery), "answer": _text(attempt.answer)}
    return {**shown, "output": _text(attempt.output), "repeats": show_id(row.output) if attempt.repeats else None}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
