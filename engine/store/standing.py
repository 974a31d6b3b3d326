"""What stands between restarts beside messages: what a person set, what was agreed, which wiring was live.

Invariant: production traffic opens by an operator's word, which is kept and is an event.
"""

from __future__ import annotations

from typing import Literal

from engine.store import sql
from engine.store.connection import Connection
from engine.store.ledger import Transaction
from engine.wiring import Channel

State = Literal["started", "paused", "stopped"]
"""A channel that is paused takes nothing and goes on delivering; one that is stopped does neither."""

LIVE = "live:"
"""Before a channel's name: a fact of the site that says which revision of it was put to work last."""
LIVE_REVISIONS = f"SELECT name, value FROM site WHERE name LIKE '{LIVE}%'"
CHANNEL_STATES = "SELECT channel, destination, state FROM channel_state"
AGREEMENTS = "SELECT value FROM site WHERE name = 'agreements_in_place'"
ADD_REVISION = "INSERT INTO channel_revision (channel, revision, at, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


def channel_states(connection: Connection) -> dict[tuple[str, str], State]:
    """What a person set, by (channel, destination); destination "" is the channel itself."""
    return {(channel, destination): state for channel, destination, state in connection.execute(CHANNEL_STATES)}


def agreements(transaction: Transaction, confirmed: bool, organization: str) -> bool:
    """Whether agreements are in place; a first confirmation is kept and recorded."""
    standing = transaction.connection.execute(AGREEMENTS).fetchone() is not None
    if confirmed and not standing:
        transaction.connection.execute(sql.SET_SITE, ("agreements_in_place", str(transaction.ledger.clock.now())))
        transaction.event(organization, "agreements_confirmed", 0, rare=False)
    return confirmed or standing


def live_revisions(connection: Connection) -> dict[str, str]:
    """The revision of each channel that was put to work last, by any process."""
    prefix = len(LIVE)
    return {name[prefix:]: revision for name, revision in connection.execute(LIVE_REVISIONS)}


def record_revision(transaction: Transaction, channel: Channel) -> None:
    """Keep the text of a channel's revision, so that a trace can show the wiring that a message met."""
    at = transaction.ledger.clock.now()
    transaction.connection.execute(sql.SET_SITE, (LIVE + channel.name, channel.revision))
    values = (channel.name, channel.revision, at, channel.text)
    if transaction.connection.execute(ADD_REVISION, values).rowcount:
        transaction.event(channel.owner, "channel_revised", 0, channel.name, channel.revision, rare=False)
