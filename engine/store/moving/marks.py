"""What is written of a move in either store: how far it has come, where a site came from, where it has gone.

Invariant: from the first row of a move until it is compared and handed over the target refuses to serve, and from the
moment it may serve the source refuses to: a site is never served in two places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from engine.errors import UnsafeStore
from engine.store import sql
from engine.store.connection import Connection

MOVING = "moving"
MOVED_TO = "moved_to"
MOVED_FROM = "moved_from"
EPOCH = "epoch"
OF_THE_PLACE = (MOVING, MOVED_TO, MOVED_FROM, EPOCH)
"""What `site` says of this store, not of the site that lives in it: it stays behind."""

FACT = "SELECT value FROM site WHERE name = ?"
FORGET = "DELETE FROM site WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a move has come: of which source, and the last row's key of the table that is being copied."""

    source: str
    table: str = ""
    after: tuple[Any, ...] = ()

    def write(self, connection: Connection) -> None:
        """Remember it, in the transaction that brings the rows it speaks of."""
        after = [{"bytes": part.hex()} if isinstance(part, bytes) else part for part in self.after]
        text = orjson.dumps({"source": self.source, "table": self.table, "after": after}).decode()
        connection.execute(sql.SET_SITE, (MOVING, text))


def read_mark(connection: Connection) -> Mark | None:
    """The mark of the unfinished move into this store, or None."""
    text = fact(connection, MOVING)
    if text is None:
        return None
    found = orjson.loads(text)
    after = (bytes.fromhex(part["bytes"]) if isinstance(part, dict) else part for part in found["after"])
    return Mark(found["source"], found["table"], tuple(after))


def fact(connection: Connection, name: str) -> str | None:
    """A fact of the store, or None."""
    row = connection.execute(FACT, (name,)).fetchone()
    return None if row is None else str(row[0])


def refuse_unfinished(connection: Connection) -> None:
    """Refuse a store that a move has not filled yet, or that a move has emptied of its purpose.

    Raises:
        UnsafeStore: with what to do next.
    """
    if fact(connection, MOVING) is not None:
        raise UnsafeStore(
            "opening the store: a move into it was not finished",
            code="unfinished_move",
            advice="Run the same `interlock migrate store` again: it goes on where it was. Or give the move up: remove"
            " this store and serve the old one.",
        )
    moved_to = fact(connection, MOVED_TO)
    if moved_to is not None:
        raise UnsafeStore(
            f"opening the store: its site was moved to {moved_to}",
            code="moved_away",
            advice="Serve the site there: what was received since is only there.",
        )
