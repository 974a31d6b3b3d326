"""Which store a site has: SQLite in its data folder, or PostgreSQL at a URL."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from engine import observe
from engine.clock import SystemClock
from engine.errors import Configuration, StoreUnavailable
from engine.ports import Role
from engine.store.committing import CommittingStore
from engine.store.sqlite import DATABASE, KEY_FILE, open_store

_POSTGRES = ("postgresql://", "postgres://")
WAIT_SECONDS = 600.0
"""So long a start waits for a PostgreSQL that is not there; then it fails, and may be tried again."""
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
SAY_SECONDS = 30.0
"""While it waits it says so this often."""


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


async def open_when_there(folder: Path, url: str, key: str, role: Role, ending: asyncio.Event) -> CommittingStore:
    """As `open_any`, but a PostgreSQL that is not there is waited for, at most `WAIT_SECONDS`.

    What waiting does not mend, as a wrong password or a schema of another version, is raised at once.

    Raises:
        StoreUnavailable: it did not come in time, or `ending` was set meanwhile.
        Configuration, UnsafeStore: as `open_any`.
    """
    now = asyncio.get_running_loop().time
    until, said, pause = now() + WAIT_SECONDS, 0.0, FIRST_PAUSE_SECONDS
    while True:
        try:
            store = await open_any(folder, url, key, role)
        except StoreUnavailable as error:
            if now() >= until or not _may_come(error):
                raise
            if now() >= said:
                observe.failed("store_awaited", error, seconds=int(until - now()))
                said = now() + SAY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), pause)
            if ending.is_set():
                raise
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            if said:
                observe.event("store_there")
            return store


def _may_come(error: StoreUnavailable) -> bool:
    from engine.store.postgres.connection import NotThere

    return isinstance(error, NotThere)
