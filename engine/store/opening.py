"""Which store a site has: SQLite in its data folder, or PostgreSQL at a URL."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.clock import SystemClock
from engine.errors import Configuration
from engine.ports import Role
from engine.store.committing import CommittingStore
from engine.store.sqlite import DATABASE, KEY_FILE, open_store

_POSTGRES = ("postgresql://", "postgres://")


def is_shared(url: str) -> bool:
    """True when the URL names a store for several processes."""
    return url.startswith(_POSTGRES)


async def open_any(folder: Path, url: str, key: str, role: Role) -> CommittingStore:
    """Open the store that `url` names, for a process of that role; without a URL it is SQLite in the locked folder.

    Raises:
        Configuration: no store is called that, or it is for one process that does everything.
        UnsafeStore, StoreUnavailable: it cannot be opened so that nothing acknowledged is lost.
    """
    if is_shared(url):
        from engine.store.postgres.store import open_postgres  # a site of one process never pays for this import

        return await open_postgres(url, key, folder / KEY_FILE, role)
    if url and url != f"sqlite:{folder / DATABASE}":
        raise Configuration(
            "reading the store's URL: expected postgresql://... or nothing",
            code="setting",
            advice="Leave out --store and INTERLOCK_STORE for SQLite in the data folder.",
        )
    if role != "all":
        raise Configuration(
            f"starting with the role {role}: the embedded store is for one process",
            code="setting",
            advice="Name a PostgreSQL store with --store, or leave out --role and INTERLOCK_ROLE.",
        )
    return open_store(folder, key, SystemClock(), asyncio.get_running_loop())
