"""Reads single messages and deliveries with all that belongs to them: what a trace and the dead letters show.

Invariant: every statement finds its rows by a primary key or an index; none walks a table. Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import orjson

from engine.store.connection import Connection


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as stored, without its bytes."""

    id: int
    organization: str
    channel: str
    writer: int
    receipt: int
    state: str
    reason: str
    type: str
    size: int
    original: int | None
    revision: str
    changed_at: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as stored."""

    id: int
    message: int
    channel: str
    destination: str
    lane: bytes
    seq: int
    barrier: bytes | None
    rule: str
    state: str
    reason: str
    attempts: int
    attempt: int
    next_at: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt as stored; `answer` is sealed."""

    id: int
    delivery: int
    number: int
    epoch: int
    claimed_at: int
    output: int
    content_type: str
    revision: str
    tables: str
    settled_at: int | None
    outcome: str | None
    code: str | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """What happened to one subject: the event's words, and where it stands in the organization's chain."""

    writer: int
    seq: int
    at: int
    kind: str
    details: tuple[str | int, ...]


Row = TypeVar("Row", MessageRow, DeliveryRow, AttemptRow)


def columns(kind: type[Any], alias: str = "") -> str:
    """The columns that fill a row's dataclass, in its order."""
    return ", ".join(alias + field.name for field in fields(kind))


MESSAGE = f"SELECT {columns(MessageRow)} FROM message WHERE id = ?"
SUCCESSORS = f"SELECT {columns(MessageRow)} FROM message WHERE original = ? ORDER BY id LIMIT ?"
DELIVERY = f"SELECT {columns(DeliveryRow)} FROM delivery WHERE id = ?"
DELIVERIES = f"SELECT {columns(DeliveryRow)} FROM delivery WHERE message = ? ORDER BY id"
ATTEMPTS = f"SELECT {columns(AttemptRow)} FROM attempt WHERE delivery = ? ORDER BY number"
EVENTS = (
    "SELECT e.writer, e.seq, e.at, e.body FROM event_subject s CROSS JOIN event e"
    " WHERE e.organization = s.organization AND e.writer = s.writer AND e.seq = s.seq"
    " AND s.subject = ? ORDER BY e.at, e.seq"
)
SEALED = "SELECT sealed FROM payload WHERE id = ?"


def message(connection: Connection, number: int) -> MessageRow | None:
    """A message, or None."""
    return next(iter(_rows(connection, MessageRow, MESSAGE, (number,))), None)


def successors(connection: Connection, number: int, most: int = 100) -> list[MessageRow]:
    """Messages that repeat or replay this one, oldest first."""
    return _rows(connection, MessageRow, SUCCESSORS, (number, most))


def delivery(connection: Connection, number: int) -> DeliveryRow | None:
    """A delivery, or None."""
    return next(iter(_rows(connection, DeliveryRow, DELIVERY, (number,))), None)


def deliveries(connection: Connection, message: int) -> list[DeliveryRow]:
    """Every delivery of a message, filtered ones included."""
    return _rows(connection, DeliveryRow, DELIVERIES, (message,))


def attempts(connection: Connection, delivery: int) -> list[AttemptRow]:
    """Every attempt of a delivery, in order."""
    return _rows(connection, AttemptRow, ATTEMPTS, (delivery,))


def events(connection: Connection, subject: int) -> list[EventRow]:
    """Persons' acts and unusual turns of one message or delivery; the ordinary ones are rows of their own."""
    return [
        EventRow(writer, seq, at, kind, tuple(details))
        for writer, seq, at, body in connection.execute(EVENTS, (subject,))
        for kind, about, *details in orjson.loads(body)
        if about == subject
    ]


def sealed(connection: Connection, owner: int) -> bytes | None:
    """The sealed bytes of a message or an attempt, or None where none are kept."""
    row = connection.execute(SEALED, (owner,)).fetchone()
    return bytes(row[0]) if row else None


def _rows(connection: Connection, kind: type[Row], query: str, values: Sequence[Any]) -> list[Row]:
    return [kind(*row) for row in connection.execute(query, values)]
