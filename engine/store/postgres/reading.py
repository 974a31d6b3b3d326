"""Reading a site's PostgreSQL: its organizations, their keys, and a connection for a command that only reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.store import sealing
from engine.store.keyring import Keyring, read_keys
from engine.store.postgres import schema
from engine.store.postgres.connection import PostgresConnection

ORGANIZATIONS = "SELECT name FROM organization ORDER BY name"


def organizations(connection: PostgresConnection) -> list[str]:
    """Every organization of the site."""
    return [name for (name,) in connection.execute(ORGANIZATIONS)]


def keys_of(connection: PostgresConnection, names: Sequence[str], master: bytes) -> Keyring:
    """The keys of these organizations.

    Raises:
        UnsafeStore: when the master key is not this site's.
    """
    connection.begin_for(names)
    try:
        return read_keys(connection, master)
    finally:
        connection.roll_back()


def open_keys(url: str, key: str, key_file: Path) -> tuple[PostgresConnection, Keyring]:
    """A connection that only reads, and the keys that open what it finds.

    Raises:
        UnsafeStore: on a wrong key, or a schema of another version.
        StoreUnavailable: PostgreSQL does not answer.
    """
    keyring: Keyring = {}
    connection = PostgresConnection(url, lambda: keyring, read_only=True)
    try:
        schema.check_version(connection)
        names = organizations(connection)
        keyring.update(keys_of(connection, names, sealing.master_key(key, key_file, may_create=False)))
        return connection, keyring
    except BaseException:
        connection.close()
        raise
