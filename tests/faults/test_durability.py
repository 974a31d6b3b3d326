"""No positive answer before the fsync that covers it, none while nothing can be made durable, and nothing lost.

strace shows the order of the calls and makes them fail; small disks fill up; the power of a disk is cut.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Reply, StoreUnavailable
from engine.model import Kept, Receipt
from tests import building

from . import disks
from .laboratory import Laboratory
from .ledger import Figures
from .sites import KILLED, Site, drained, site, until
from .strace import Call, failing, finished, read_calls, strace, watching

__all__ = ["strace"]
Record = Callable[[str, object], None]
LOG = "interlock.db-wal"
OUT = frozenset({"write", "writev", "sendto", "sendmsg"})
IN = frozenset({"read", "recvfrom", "recvmsg", "readv"})


def told(record: Record, group: str, figures: Figures) -> None:
    record("figures", {"group": group, **figures.as_dict()})


async def few_messages(made: Site, laboratory: Laboratory, messages: int) -> None:
    """Run a laboratory until so many messages are acknowledged and delivered."""
    sending = asyncio.create_task(laboratory.run())
    await laboratory.acknowledged(messages)
    laboratory.finish()
    await sending
    await drained(made.engine)


def covered(calls: list[Call], control: str) -> bool:
    """The log was written and synced after the message was read and before its answer was written."""
    read = next(c for c in calls if c.name in IN and "socket" in c.target.lower() + c.text and f"|{control}|" in c.text)
    answer = next(c for c in calls if c.name in OUT and f"MSA|AA|{control}" in c.text)
    between = [c for c in calls if c.target.endswith(LOG) and read.ended < c.begun and c.ended < answer.begun]
    writes = [c for c in between if c.name == "pwrite64"]
    return any(c.name in ("fdatasync", "fsync") and c.worked and c.begun > writes[0].ended for c in between)


@pytest.mark.parametrize(("connections", "messages"), [(1, 1), (6, 60)], ids=["idle", "group commit"])
def test_the_sync_returns_before_the_answer_is_written(
    tmp_path: Path, strace: str, connections: int, messages: int, record_property: Record
) -> None:
    async def scenario() -> list[str]:
        async with site(tmp_path) as made:
            made.engine.wrapper = watching(strace, tmp_path / "calls")
            assert await made.engine.start()
            assert (await made.engine.http("/readyz"))[0] == 200
            laboratory = Laboratory("R", made.engine.where["relay"], connections=connections, patients=connections)
            await few_messages(made, laboratory, messages)
            assert await made.engine.stop() == 0
            await finished(tmp_path / "calls")
            return list(laboratory.book.acknowledged)

    acknowledged = asyncio.run(scenario())
    calls = read_calls(tmp_path / "calls")
    assert len(acknowledged) >= messages
    assert [control for control in acknowledged if not covered(calls, control)] == []
    record_property("figures", {"group": "synced before answered (strace)", "answers": len(acknowledged)})


def test_the_claim_is_synced_before_the_message_leaves(tmp_path: Path, strace: str) -> None:
    """Two syncs lie between what came in and what goes out: the one of `keep`, then the one of `claim`."""

    async def scenario() -> None:
        async with site(tmp_path) as made:
            made.engine.wrapper = watching(strace, tmp_path / "calls")
            assert await made.engine.start()
            assert (await made.engine.http("/readyz"))[0] == 200
            laboratory = Laboratory("R", made.engine.where["relay"], connections=1, patients=1)
            await few_messages(made, laboratory, 1)
            assert await made.engine.stop() == 0
            await finished(tmp_path / "calls")

    asyncio.run(scenario())
    calls = read_calls(tmp_path / "calls")
    read = next(c for c in calls if c.name in IN and "|R000001|" in c.text)
    left = next(c for c in calls if c.name in OUT and "|R000001|" in c.text and "MSA|" not in c.text)
    syncs = [c for c in calls if c.name == "fdatasync" and c.target.endswith(LOG) and c.worked]
    assert len([c for c in syncs if read.ended < c.begun and c.ended < left.begun]) >= 2


FAILURES = [("fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("pwrite64", "EROFS")]


@pytest.mark.parametrize(("call", "error"), FAILURES)
def test_a_disk_that_fails_for_good(
    tmp_path: Path, strace: str, call: str, error: str, record_property: Record
) -> None:
    """From some moment on nothing is answered positively; what was, is there after the restart on a sound disk."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.wrapper = failing(
                strace, tmp_path / "calls", call, error, "400+" if call == "pwrite64" else "70+"
            )
            assert await made.engine.start()
            made.open_laboratories()
            await negative(made, 20)
            before = [len(laboratory.book.acknowledged) for laboratory in made.laboratories]
            await negative(made, 20)
            assert [len(laboratory.book.acknowledged) for laboratory in made.laboratories] == before, "taken in a fault"
            assert {code for laboratory in made.laboratories for _, code in laboratory.book.negative} == {"AE"}
            status, body = await made.engine.http("/readyz")
            assert (status, b"store_not_writable" in body) == (503, True)
            made.engine.signal(signal.SIGKILL)
            await made.killed(call)
            made.engine.wrapper = ()
            assert await made.engine.start()
            await made.settle()
            return await made.account()

    told(record_property, "failing disks", asyncio.run(scenario()))


async def negative(made: Site, more: int) -> None:
    """Wait until so many more messages were answered negatively on every channel but the one that waits."""
    for laboratory in made.laboratories[:2]:
        goal = len(laboratory.book.negative) + more
        async with asyncio.timeout(30):
            while len(laboratory.book.negative) < goal:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("call", "error", "when"), [("fdatasync", "EIO", "70..90"), ("pwrite64", "ENOSPC", "400..440")]
)
def test_a_disk_that_fails_for_a_while(
    tmp_path: Path, strace: str, call: str, error: str, when: str, record_property: Record
) -> None:
    """The engine goes on by itself when the fault ends, without a restart."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.wrapper = failing(strace, tmp_path / "calls", call, error, when)
            assert await made.engine.start()
            made.open_laboratories()
            await negative(made, 1)
            await made.settle()
            return await made.account()

    figures = asyncio.run(scenario())
    assert figures.negative > 0
    told(record_property, "failing disks", figures)


def test_a_disk_that_cannot_be_read_for_a_while(tmp_path: Path, strace: str, record_property: Record) -> None:
    """Nothing is kept in memory and the disk does not give back what it took: deliveries wait, none dies for it."""

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.more_environment = {"INTERLOCK_MEMORY_BUDGET": "1B"}
            made.engine.wrapper = failing(strace, tmp_path / "calls", "pread64", "EIO", "500..700")
            assert await made.engine.start()
            made.open_laboratories()
            await until(lambda: b"(INJECTED)" in (tmp_path / "calls").read_bytes())
            await made.settle()
            return await made.account()

    told(record_property, "failing disks", asyncio.run(scenario()))


@pytest.mark.root
def test_a_disk_that_is_full(tmp_path: Path, record_property: Record) -> None:
    disks.needs_root()

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.data = tmp_path / "small"
            made.engine.more_environment = {"INTERLOCK_DISK_RESERVE": "1B"}
            with disks.tmpfs(made.engine.data, 3):
                try:
                    assert await made.engine.start()
                    made.open_laboratories()
                    await negative(made, 20)
                    disks.resize(made.engine.data, 256)
                    await made.settle()
                    return await made.account()
                finally:
                    made.engine.end()

    figures = asyncio.run(scenario())
    assert figures.negative >= 40
    told(record_property, "failing disks", figures)


@pytest.mark.root
def test_the_reserve_is_kept_free(tmp_path: Path, record_property: Record) -> None:
    """Below `disk_reserve` everything is answered negatively although the disk is not full; room reopens the doors."""
    disks.needs_root()

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            made.engine.data = tmp_path / "small"
            made.engine.more_environment = {"INTERLOCK_DISK_RESERVE": "32MiB"}
            with disks.tmpfs(made.engine.data, 64):
                filler = made.engine.data / "filler"
                filler.write_bytes(b"x" * (40 << 20))
                try:
                    assert await made.engine.start()
                    made.open_laboratories()
                    await negative(made, 5)
                    assert not any(laboratory.book.acknowledged for laboratory in made.laboratories)
                    filler.unlink()
                    await made.settle(20)
                    return await made.account()
                finally:
                    made.engine.end()

    told(record_property, "failing disks", asyncio.run(scenario()))


@pytest.mark.root
def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A read-only disk: the engine says so and does not start."""
    disks.needs_root()

    async def scenario() -> None:
        async with site(tmp_path) as made:
            made.engine.data = tmp_path / "small"
            with disks.tmpfs(made.engine.data, 16):
                assert await made.engine.start()
                assert await made.engine.stop() == 0
                disks.make_read_only(made.engine.data)
                run = await asyncio.to_thread(
                    made.engine.command, "serve", "--channels", str(made.engine.channels), "--data",
                    str(made.engine.data), "--http", "127.0.0.1:0", "--agreements-in-place",
                )  # fmt: skip
                assert run.returncode == 1
                assert "Traceback" not in run.stderr, run.stderr
                assert "interlock:" in run.stderr

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.parametrize("more", [1, 40])
def test_the_power_is_cut(tmp_path: Path, more: int, record_property: Record) -> None:
    """What was acknowledged survives a power loss of the disk; what the kernel only held in memory does not."""
    disks.needs_root()

    async def scenario() -> Figures:
        async with site(tmp_path) as made:
            disk = disks.LoopDisk(tmp_path)
            made.engine.data = disk.path / "data"
            with ExitStack() as stack:
                disk.mount()
                stack.callback(disk.unmount)
                stack.callback(made.engine.end)
                assert await made.engine.start()
                made.open_laboratories()
                await made.laboratories[0].acknowledged(more)
                cut_at = asyncio.get_running_loop().time()
                disk.cut_power()
                made.engine.signal(signal.SIGKILL)
                assert await made.engine.died() == KILLED
                made.figures.kills += 1
                for laboratory in made.laboratories:  # without power no answer would have left any more
                    book = laboratory.book
                    for control in [c for c, at in book.acknowledged.items() if at >= cut_at]:
                        del book.acknowledged[control]
                disk.unmount()
                disk.mount()
                assert await made.engine.start()
                await made.settle()
                return await made.account()

    told(record_property, "power cuts", asyncio.run(scenario()))


class Unavailable:
    """A store in front of a real one that keeps nothing while it is told so."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.away = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def keep(self, receipt: Receipt) -> Kept:
        if self.away:
            raise StoreUnavailable("committing: SQLITE_IOERR")
        kept: Kept = await self._store.keep(receipt)
        return kept


def test_a_store_that_is_away_is_answered_negatively_and_for_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with building.path(tmp_path) as path:
            away = Unavailable(path.store)
            path.ports.store = away
            for _ in range(3):
                answer = await path.send(building.oru())
                assert (answer.verdict.reply, answer.verdict.code) == (Reply.ERROR, "store_unavailable")
                assert answer.verdict.transient
                assert answer.payload is not None
                assert b"MSA|AE|C1" in answer.payload
            assert await path.states() == []
            away.away = False
            assert (await path.send(building.oru())).positive
            await path.quiet()
            assert await path.states() == ["delivered"]

    asyncio.run(scenario())
