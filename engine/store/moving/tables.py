"""The tables that are copied as they are, with their columns, PostgreSQL's types of them, and their primary keys.

Invariant: every table and column of the schema is here, `site` and what only PostgreSQL has apart: a test compares
this list with both schemas.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.store.connection import Many


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `large` is the column whose values may be so long that a chunk holds fewer rows, or empty."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    types: tuple[str, ...]
    large: str = ""

    @property
    def insert(self) -> Many:
        """Adds rows of all columns."""
        return Many(" ".join(self.types), f"INSERT INTO {self.name} ({', '.join(self.columns)}) {{rows}}")

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where the parts of the key stand in a row."""
        return tuple(self.columns.index(part) for part in self.key)


def _table(name: str, key: str, columns: str, large: str = "") -> Table:
    pairs = [pair.split() for pair in columns.split(",")]
    return Table(name, tuple(key.split()), tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), large)


TABLES: tuple[Table, ...] = (
    _table("key", "id", "id bigint, organization text, wrapped bytea, created_at bigint"),
    _table("counter", "channel destination writer", "channel text, destination text, writer int, last bigint"),
    _table(
        "message",
        "id",
        "id bigint, organization text, channel text, writer int, receipt bigint, state text, reason text, type text,"
        " size bigint, digest bytea, sent_as bytea, content bytea, patient bytea, original bigint, revision text,"
        " changed_at bigint",
    ),
    _table("payload", "id", "id bigint, organization text, sealed bytea", "sealed"),
    _table(
        "receipt_key",
        "sent_as content message",
        "organization text, sent_as bytea, content bytea, message bigint, reply text, code text",
    ),
    _table(
        "delivery",
        "id",
        "id bigint, organization text, message bigint, channel text, destination text, lane bytea, seq bigint,"
        " barrier bytea, order_key bytea, rule text, state text, open int, reason text, attempts bigint,"
        " attempt bigint, epoch bigint, next_at bigint, changed_at bigint",
    ),
    _table(
        "attempt",
        "id",
        "id bigint, organization text, delivery bigint, number bigint, epoch bigint, claimed_at bigint,"
        " output bigint, content_type text, revision text, tables text, settled_at bigint, outcome text, code text,"
        " answer bytea",
        "answer",
    ),
    _table(
        "retired",
        "month organization channel destination state",
        "month text, organization text, channel text, destination text, state text, count bigint, numbers bigint",
    ),
    _table(
        "event",
        "organization writer seq",
        "organization text, writer int, seq bigint, at bigint, body bytea, hash bytea",
        "body",
    ),
    _table("chain", "organization writer", "organization text, writer int, last bigint, hash bytea"),
    _table(
        "event_subject",
        "subject organization writer seq",
        "subject bigint, organization text, writer int, seq bigint",
    ),
    _table(
        "item",
        "id",
        "id bigint, organization text, channel text, code text, subject bytea, sealed bytea, opened_at bigint,"
        " latest_at bigint, count bigint, message bigint, delivery bigint, closed_at bigint, closed_by text,"
        " reason text",
    ),
    _table(
        "channel_state", "channel destination", "channel text, destination text, state text, reason text, at bigint"
    ),
    _table("channel_revision", "channel revision", "channel text, revision text, at bigint, text text"),
    _table("token", "id", "id bigint, hash bytea, prefix text, created_at bigint, revoked_at bigint"),
)
