"""PostgreSQL for tests: a database of this test process, with an owner and an application role, dropped at the end.

The server is the one that INTERLOCK_TEST_POSTGRES names, as somebody who may make databases and roles. Where there is
none a test is skipped on a laptop, with the line that installs it, and fails in CI.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from engine.store.postgres import schema
from engine.store.postgres.store import PostgresStore, open_postgres
from tests.conftest import missing

INSTALL = "on Debian: apt-get install postgresql"
STANDARD = "postgresql://postgres@127.0.0.1:5432/postgres"
APP_ROLE = "interlock_test_app"
OWNER_ROLE = "interlock_test_owner"
MAKE_ROLES = """DO $$ BEGIN
  PERFORM pg_advisory_xact_lock(726180399);
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{0}') THEN CREATE ROLE {0} LOGIN PASSWORD 'synthetic'; END IF;
END $$"""


class Database:
    """One database: its schema made by the owner, its engine's URL that of the application role."""

    def __init__(self, server: str, name: str) -> None:
        self._server = server
        self.name = name
        self.owner = self._url(OWNER_ROLE)
        self.url = self._url(APP_ROLE)
        self.folder: Path | None = None
        """Whose data it holds now: a test that opens another folder finds it empty."""

    def _url(self, role: str) -> str:
        at = urlsplit(self._server)
        return f"postgresql://{role}:synthetic@{at.hostname}:{at.port or 5432}/{self.name}"

    def make(self) -> None:
        """Create it."""
        for role in (OWNER_ROLE, APP_ROLE):
            run(self._server, MAKE_ROLES.format(role))
        run(self._server, f"CREATE DATABASE {self.name} OWNER {OWNER_ROLE}")
        in_a_thread(schema.migrate, self.owner, APP_ROLE)

    def drop(self) -> None:
        """Drop it, whoever is connected."""
        run(self._server, f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def empty(self) -> None:
        """Forget every row; the schema stays."""
        names = run(
            self.owner,
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'interlock' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND c.relname <> 'schema_version'",
        )
        run(self.owner, "TRUNCATE " + ", ".join(f"interlock.{row[0]}" for row in names))

    def rows(self, query: str) -> list[Any]:
        """What a query finds, past row security: as the server's administrator."""
        return run(self.admin, f"SET search_path = interlock; {query}", query)

    @property
    def admin(self) -> str:
        """The administrator's URL of this database."""
        return urlsplit(self._server)._replace(path=f"/{self.name}").geturl()


@cache
def database() -> Database:
    """The database of this test process."""
    server = os.environ.get("INTERLOCK_TEST_POSTGRES", STANDARD)
    try:
        run(server, "SELECT 1")
    except (OSError, asyncpg.PostgresError):
        missing(f"no PostgreSQL at {urlsplit(server).hostname}; {INSTALL}")
        raise
    made = Database(server, f"interlock_test_{os.getpid()}")
    made.drop()
    made.make()
    atexit.register(made.drop)
    return made


async def join(folder: Path, clock: Any = None, role: str = "all") -> PostgresStore:
    """One process's store: empty for a folder that was not the last one's. Whoever joins closes or kills it."""
    at = await asyncio.to_thread(database)
    if at.folder != folder:
        await asyncio.to_thread(at.empty)
        at.folder = folder
    return await open_postgres(at.url, "", folder / "interlock.key", role, clock)


@asynccontextmanager
async def opened(folder: Path, clock: Any = None, role: str = "all") -> AsyncIterator[PostgresStore]:
    """A store that knows the organization `site`: empty for a folder that was not the last one's."""
    store = await join(folder, clock, role)
    try:
        await store.know("site")
        yield store
    finally:
        store.close()


def kill(store: PostgresStore) -> None:
    """End a store as a process ends that is killed and was not heard of for long: it says nothing to the others."""
    end_lease(store)
    store._commits.close()
    for connection in (store._reading, store._connection):
        store._reader.submit(connection.close)
    store._reader.shutdown()


def end_lease(store: PostgresStore) -> None:
    """The next process that attends to the site takes a store for one that is gone, though it may go on."""
    run(database().admin, f"UPDATE interlock.process SET until = 0 WHERE epoch = {store.epoch}")


def run(url: str, *statements: str) -> list[Any]:
    """Run statements on a connection of their own; what the last one found."""

    async def work() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            found: list[Any] = []
            for statement in statements:
                found = await connection.fetch(statement) if ";" not in statement[:-1] else []
                if ";" in statement[:-1]:
                    await connection.execute(statement)
            return found
        finally:
            await connection.close()

    return in_a_thread(asyncio.run, work())  # type: ignore[no-any-return]


def in_a_thread(work: Any, *arguments: Any) -> Any:
    """Do a piece of work, beside the loop where one is running here."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work(*arguments)
    with ThreadPoolExecutor(1) as one:
        return one.submit(work, *arguments).result()
