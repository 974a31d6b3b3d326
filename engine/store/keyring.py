"""The keys of a store's organizations, and the search keys they make of what a person looks for.

Invariant: whoever opens a store, the server or a reading command, gets its keys and makes its search keys here, so
that what one wrote the other finds.
"""

from __future__ import annotations

from typing import Protocol

from engine.model import Receipt
from engine.store import sealing
from engine.store.connection import Connection

HALF = 8
"""Bytes of each half of a receipt key."""

READ_KEYS = "SELECT organization, id, wrapped FROM key"
KEY_OF = "SELECT id, wrapped FROM key WHERE organization = ?"
ADD_KEY = "INSERT INTO key (organization, wrapped, created_at) VALUES (?, ?, ?) RETURNING id"
KNOWN_BEFORE = "SELECT 1 FROM event WHERE organization = ? LIMIT 1"

Keyring = dict[str, sealing.OrganizationKeys]
"""The keys of each organization."""


class Opener(Protocol):
    """Whoever can open sealed values: the store of a server, or the reader of a command."""

    def keys(self, organization: str) -> sealing.OrganizationKeys:
        """The keys of an organization."""
        ...

    def organizations(self) -> tuple[str, ...]:
        """Every organization that has keys here."""
        ...


def read_keys(connection: Connection, master: bytes) -> Keyring:
    """Every organization's keys, unwrapped.

    Raises:
        UnsafeStore: when the master key is not this store's.
    """
    return {
        organization: sealing.OrganizationKeys(key_id, sealing.unwrap(master, wrapped, organization))
        for organization, key_id, wrapped in connection.execute(READ_KEYS)
    }


def control_key(keys: sealing.OrganizationKeys, control_id: str) -> bytes:
    """The search key of a control id (MSH-10): eight bytes, with which the keys of its messages begin."""
    return keys.index("control\n" + control_id)[:HALF]


def receipt_key(keys: sealing.OrganizationKeys, receipt: Receipt, content: bytes) -> bytes:
    """What a sender called this message: half its control id, half channel and MSH-3 to MSH-6.

    A message without a control id is called by its content: it is a duplicate of the same content only.
    """
    identity = receipt.identity
    control = identity.control_id if identity else ""
    names = (*identity.sender, *identity.receiver) if identity else ("unknown",)
    sender = keys.index("\n".join(("sender", receipt.channel, *names)))
    return (control_key(keys, control) if control else content[:HALF]) + sender[:HALF]


def patient_key(keys: sealing.OrganizationKeys, identifier: str) -> bytes:
    """The search key of a patient's identifier, whatever its assigning authority."""
    return keys.index("patient\n" + identifier)
