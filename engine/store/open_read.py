"""Opens a store for reading only, whether a server works on it or not.

Invariant: a reading command writes nothing, waits for nobody, and sees one committed state for as long as it reads.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotFound, UnsafeStore
from engine.store import migrate, sealing
from engine.store.connection import Connection
from engine.store.keyring import read_keys
from engine.store.opening import is_shared
from engine.store.sqlite import DATABASE, KEY_FILE
from engine.store.sqlite_connection import connect


@dataclass(frozen=True, slots=True)
class Reader:
    """A store open for reading, and the keys that open its sealed values."""

    connection: Connection
    known: dict[str, sealing.OrganizationKeys]

    def keys(self, organization: str) -> sealing.OrganizationKeys:
        """The keys of an organization.

        Raises:
            NotFound: the store knows no such organization.
        """
        try:
            return self.known[organization]
        except KeyError:
            raise NotFound(f"opening sealed values: no organization {organization} has keys here") from None

    def organizations(self) -> tuple[str, ...]:
        """Every organization that has keys here."""
        return tuple(self.known)

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()


def open_for_reading(folder: Path, key: str, url: str = "") -> Reader:
    """Open a site's store without joining or locking it; `key` is INTERLOCK_KEY, empty for the folder's key file.

    Raises:
        NotFound: there is no store in the folder.
        UnsafeStore: on a wrong key, or a database of another version than this program's.
        StoreUnavailable: PostgreSQL does not answer.
    """
    if is_shared(url):
        from engine.store.postgres.reading import open_keys  # a site of one process never pays for this import

        return Reader(*open_keys(url, key, folder / KEY_FILE))
    file = folder / DATABASE
    if not file.exists():
        raise NotFound(
            f"opening {file}: there is no store", advice="Name the data folder with --data, or start `interlock serve`."
        )
    connection = connect(file, read_only=True)
    try:
        check_version(connection)
        master = sealing.master_key(key, folder / KEY_FILE, may_create=False)
        return Reader(connection, read_keys(connection, master))
    except sqlite3.Error as error:
        connection.close()
        raise UnsafeStore(f"reading {file}: {error.sqlite_errorname}", code="store_unreadable") from error
    except BaseException:
        connection.close()
        raise


def check_version(connection: Connection) -> None:
    """Refuse a database of another version than this program's.

    Raises:
        UnsafeStore: with what to do next.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    newest = migrate.scripts()[-1][0]
    if version != newest:
        raise UnsafeStore(
            f"reading the store: its schema is version {version}, this program knows {newest}",
            code="newer_schema" if version > newest else "older_schema",
            advice="Use the version that wrote it, or start `interlock serve` once to bring it up to date.",
        )
