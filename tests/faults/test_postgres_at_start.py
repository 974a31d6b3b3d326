"""A PostgreSQL that is not there when `interlock serve` starts: it is waited for, and SIGTERM ends the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import StoreUnavailable
from engine.store import opening
from engine.store.postgres.connection import PostgresUnavailable
from tests import postgres
from tests.servers_postgres import PostgresServer, postgres_server

from .engine_child import Engine, channel_toml, destination_toml
from .several import KEY


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server(fsync="on") as one:
        yield one


@pytest.fixture
def engine(tmp_path: Path, server: PostgresServer) -> Iterator[Engine]:
    """An engine whose database is made, and whose server is down."""
    database = postgres.Database(server.url, f"site_{tmp_path.name.replace('-', '_')[:40].lower()}")
    database.make()
    server.stop()
    one = Engine(tmp_path)
    one.write_channel("relay", channel_toml("relay", destination_toml("ehr", "mllp://127.0.0.1:9")))
    one.more_environment = {"INTERLOCK_STORE": database.url, "INTERLOCK_KEY": KEY}
    yield one
    one.end()
    if not server.processes():
        server.start()


async def says(engine: Engine, word: str) -> None:
    """Wait until the log has a word."""
    async with asyncio.timeout(30):
        while not engine.log.exists() or word not in engine.log.read_text():
            await asyncio.sleep(0.05)


def test_serve_waits_for_the_database_and_starts_when_it_is_there(engine: Engine, server: PostgresServer) -> None:
    async def story() -> None:
        starting = asyncio.create_task(engine.start())
        await says(engine, "store_awaited")
        assert not starting.done()
        await asyncio.to_thread(server.start)
        assert await starting
        assert "store_there" in engine.log.read_text()
        assert await engine.stop() == 0

    asyncio.run(asyncio.wait_for(story(), 60))


def test_sigterm_ends_the_waiting(engine: Engine) -> None:
    async def story() -> None:
        starting = asyncio.create_task(engine.start())
        await says(engine, "store_awaited")
        assert await engine.stop() == 0
        assert not await starting
        text = engine.log.read_text()
        assert "stopped" in text and "Traceback" not in text

    asyncio.run(asyncio.wait_for(story(), 60))


def test_after_the_longest_wait_it_fails_with_advice(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WAIT_SECONDS", 0.0)
    nobody = f"postgresql://nobody@127.0.0.1:{server.port + 1 if server.port < 65535 else 1}/none"

    async def story() -> None:
        with pytest.raises(StoreUnavailable) as caught:
            await opening.open_when_there(tmp_path, nobody, KEY, "all", asyncio.Event())
        assert "PostgreSQL runs" in caught.value.advice and "disk space" not in caught.value.advice

    asyncio.run(story())


def test_what_waiting_does_not_mend_is_told_at_once(
    tmp_path: Path, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is there and has no such database."""

    async def story() -> None:
        with pytest.raises(PostgresUnavailable):
            await opening.open_when_there(tmp_path, server.url + "_none", KEY, "all", asyncio.Event())

    asyncio.run(asyncio.wait_for(story(), 60))
    assert "store_awaited" not in caplog.text
