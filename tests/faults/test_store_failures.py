"""A store that fails at the worst moment: no delivery is forgotten, none overtakes another, none dies for it."""

from __future__ import annotations

import asyncio
from asyncio import Future
from pathlib import Path
from typing import Any

import pytest

from engine import outlet, worker
from engine.clock import SystemClock
from engine.errors import Held, StoreUnavailable, UnsafeStore
from engine.model import Attempt, DeliveryState
from engine.outlet import Outlet
from engine.recovery import restore
from engine.store.sqlite import DATABASE, KEY_FILE, open_store
from tests import building

from .laboratory import control_of


class Failing:
    """A store in front of a real one; of each call named in `fails` the ones marked True fail."""

    def __init__(self, store: Any, **fails: list[bool]) -> None:
        self._store = store
        self._fails = {name: iter(plan) for name, plan in fails.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _away(self, name: str) -> bool:
        return next(self._fails.get(name, iter(())), False)

    async def claim(self, attempt: Attempt) -> bool:
        if self._away("claim"):
            raise StoreUnavailable("committing: SQLITE_IOERR_FSYNC")
        return bool(await self._store.claim(attempt))

    def settle(self, *arguments: Any) -> Future[bool]:
        return self._or_fail("settle", *arguments)

    def put_aside(self, *arguments: Any) -> Future[bool]:
        return self._or_fail("put_aside", *arguments)

    def _or_fail(self, name: str, *arguments: Any) -> Future[bool]:
        if not self._away(name):
            done: Future[bool] = getattr(self._store, name)(*arguments)
            return done
        failed: Future[bool] = asyncio.get_running_loop().create_future()
        failed.set_exception(StoreUnavailable("committing: SQLITE_IOERR_FSYNC"))
        return failed

    async def load(self, *arguments: Any) -> bytes:
        if self._away("load"):
            raise StoreUnavailable("reading: SQLITE_IOERR_READ", code="store_unreadable")
        return bytes(await self._store.load(*arguments))


class SlowToRead:
    """A store that is read when it is let."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.gate = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, query: Any) -> Any:
        await self.gate.wait()
        return await self._store.read(query)


def hold(parsed: Any, tables: Any, context: Any) -> Any:
    raise Held("a person must look first", code="held_by_site")


async def ended(path: building.Path_, wanted: list[str]) -> None:
    """Wait until the deliveries stand so; where they do not, the test's own time limit says so."""
    async with asyncio.timeout(20):
        while await path.states() != wanted:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (outlet, worker):
        monkeypatch.setattr(module, "STORE_PAUSE_SECONDS", 0.01)


def test_a_hold_that_could_not_be_recorded_is_recorded_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with building.path(tmp_path, converters={"ehr": hold}) as path:
            path.ports.store = Failing(path.store, put_aside=[True] * 3)
            assert (await path.send(building.oru())).positive
            await ended(path, ["held"])

    asyncio.run(scenario())


def test_a_claim_that_fails_while_an_outcome_is_tried_again_is_not_forgotten(tmp_path: Path) -> None:
    """The outcome before it takes longer to record than the pause after a failed claim: the delivery still goes on."""

    async def scenario() -> None:
        async with building.path(tmp_path) as path:
            path.ports.store = Failing(path.store, claim=[False, True], settle=[True] * 5)
            (outlet,) = path.worker.outlets.values()
            outlet.hold("test")
            for number in range(3):
                assert (await path.send(building.oru(f"C{number}"))).positive
            outlet.unhold("test")
            await ended(path, ["delivered"] * 3)
            assert received(path) == ["C0", "C1", "C2"]

    asyncio.run(scenario())


def received(path: building.Path_) -> list[str]:
    return [control_of(payload) for payload in path.destinations["ehr"].received]


def test_a_disk_that_cannot_be_read_makes_nothing_dead(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with building.path(tmp_path) as path:
            path.ports.store = Failing(path.store, load=[True] * 4)
            path.worker.memory.bytes_left = 0
            assert (await path.send(building.oru())).positive
            await ended(path, ["delivered"])

    asyncio.run(scenario())


def test_what_comes_while_an_outlet_is_filled_does_not_overtake(tmp_path: Path) -> None:
    """A reload exchanges the outlet while its channel goes on taking: the new message waits for the old ones."""

    async def scenario() -> None:
        async with building.path(tmp_path) as path:
            key = (path.running.channel.name, "ehr")
            outlet = path.worker.outlets.pop(key)
            for number in range(3):
                assert (await path.send(building.oru(f"C{number}"))).positive
            spec = path.running.channel.destinations[0]
            path.worker.outlets[key] = Outlet(path.running, spec, outlet.destination, path.worker)
            slow: Any = SlowToRead(path.store)
            filling = asyncio.create_task(restore(slow, path.worker, path.running.channel, "ehr"))
            assert (await path.send(building.oru("C3"))).positive
            await path.store.act(lambda t: None)  # were C3 on its way, its claim would be before this
            slow.gate.set()
            await filling
            await ended(path, [DeliveryState.DELIVERED.value] * 4)
            assert received(path) == ["C0", "C1", "C2", "C3"]

    asyncio.run(scenario())


def test_a_file_that_is_no_store_is_refused_in_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        open_store(tmp_path, "", SystemClock(), loop).close()
        (tmp_path / DATABASE).write_bytes(b"this is no database, whatever its name says" * 100)
        with pytest.raises(UnsafeStore) as refused:
            open_store(tmp_path, "", SystemClock(), loop)
        assert refused.value.code == "store_unopened"
        assert (tmp_path / KEY_FILE).exists()

    asyncio.run(scenario())
