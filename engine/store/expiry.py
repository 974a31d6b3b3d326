"""Forgets stored answers whose window has passed, so that the table of receipt keys stays as small as it can.

Invariant: an answer is forgotten only after its channel's window; its message stays. The walk goes by message id and
remembers its place, so that a turn costs what it forgets and a restart repeats nothing.
"""

from __future__ import annotations

from engine.ids import earliest
from engine.store.batch import Transaction
from engine.wiring import Channel

PLACE = "SELECT value FROM site WHERE name = ?"
SET_PLACE = "INSERT INTO site VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
PASSED = "SELECT id, sent_as, content FROM message WHERE channel = ? AND id > ? AND id < ? ORDER BY id LIMIT ?"
FORGET = "DELETE FROM receipt_key WHERE control = ? AND content = ? AND message = ?"


def forget(t: Transaction, channel: Channel, most: int) -> int:
    """Forget the answers of at most `most` messages of a channel whose window has passed; returns how many rows."""
    name = f"keys forgotten up to: {channel.name}"
    row = t.connection.execute(PLACE, (name,)).fetchone()
    place = int(row[0]) if row else 0
    end = earliest(t.ledger.clock.now() - channel.duplicates_within)
    passed = t.connection.execute(PASSED, (channel.name, place, end, most)).fetchall()
    if not passed:
        return 0
    keys = [(sent_as, content, number) for number, sent_as, content in passed if sent_as is not None]
    forgotten = t.connection.executemany(FORGET, keys).rowcount if keys else 0
    t.connection.execute(SET_PLACE, (name, str(passed[-1][0])))
    return max(0, forgotten)
