"""Killed while it backs up or restores: a backup is absent or complete, the running engine does not notice.

What was acknowledged before a backup began is in it, and a restored store is a site that goes on.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from engine.balance import balance
from engine.search import Search, search
from engine.store.backup import read_manifest
from engine.store.open_read import open_for_reading

from .engine_child import Engine
from .sites import Site, site

#: Passes at which each point kills. A backup syncs its database, key, manifest and folder, and after the rename the
#: folder above; a restore syncs its database and key, the database again, its folder, and the folder above.
BACKING_UP = {"backup.sync.before": (1, 2, 3, 4, 5), "backup.sync.after": (1, 3, 5), "backup.rename.before": (1,)}
BACKING_UP["backup.rename.after"] = (1,)
RESTORING = {**BACKING_UP, "backup.sync.after": (2, 3), "restore.commit.before": (1,), "restore.commit.after": (1,)}
RESTORING |= {"restore.checkpoint.before": (1,), "restore.checkpoint.after": (1,)}
POINTS = {*BACKING_UP, *RESTORING}


def cases(table: dict[str, tuple[int, ...]]) -> list[str]:
    return [f"{point}:{number}" for point, numbers in table.items() for number in numbers]


def appeared(point: str) -> bool:
    """Whether the kill comes after the rename."""
    return point in ("backup.rename.after:1", "backup.sync.before:5", "backup.sync.after:5")


def back_up(engine: Engine, target: Path, point: str = "") -> CompletedProcess[str]:
    words = ("backup", str(target), "--include-key", "--data", str(engine.data), "--json")
    return engine.command(*words, failpoint=point)


def restore(engine: Engine, source: Path, data: Path, point: str = "") -> CompletedProcess[str]:
    return engine.command("restore", str(source), "--data", str(data), "--json", failpoint=point)


@pytest.mark.parametrize("points", [cases(BACKING_UP)])
def test_killed_while_backing_up_under_load(
    tmp_path: Path, points: list[str], record_property: Callable[[str, object], None]
) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start()
            made.open_laboratories()
            for number, point in enumerate(points):
                await _killed(made, tmp_path / f"backup{number}", point)
            before = set(made.laboratories[0].book.acknowledged)
            complete = tmp_path / "complete"
            run = await asyncio.to_thread(back_up, made.engine, complete)
            assert run.returncode == 0, run.stderr
            await made.settle(10)
            figures = await made.account()
            put_back = await asyncio.to_thread(restore, made.engine, complete, tmp_path / "restored")
            assert put_back.returncode == 0, put_back.stderr
            holds(tmp_path / "restored", before)
            return figures

    record_property("figures", {"group": "kills", **asyncio.run(scenario()).as_dict()})


async def _killed(made: Site, target: Path, point: str) -> None:
    """One backup that is killed; another of the same name is possible unless the first was complete."""
    await made.laboratories[0].acknowledged(5)
    run = await asyncio.to_thread(back_up, made.engine, target, point)
    assert run.returncode == -signal.SIGKILL, f"{point} did not fire: {run.stderr}"
    made.figures.kills += 1
    assert target.exists() is appeared(point)
    if target.exists():
        read_manifest(target)
        data = target.with_name(target.name + "-restored")
        assert (await asyncio.to_thread(restore, made.engine, target, data)).returncode == 0


def test_killed_while_restoring(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start()
            made.open_laboratories()
            await made.settle(30)
            figures = await made.account()
            complete = tmp_path / "complete"
            assert (await asyncio.to_thread(back_up, made.engine, complete)).returncode == 0
            for number, point in enumerate(cases(RESTORING)):
                data = tmp_path / f"restored{number}"
                run = await asyncio.to_thread(restore, made.engine, complete, data, point)
                assert run.returncode == -signal.SIGKILL, f"{point} did not fire: {run.stderr}"
                made.figures.kills += 1
                assert data.exists() is appeared(point)
                if not data.exists():
                    assert (await asyncio.to_thread(restore, made.engine, complete, data)).returncode == 0
                holds(data, set(made.laboratories[0].book.acknowledged))
            return figures

    record_property("figures", {"group": "kills", **asyncio.run(scenario()).as_dict()})


def holds(data: Path, controls: set[str]) -> None:
    """The store in a folder closes its balance and has these messages."""
    reader = open_for_reading(data, "")
    try:
        assert balance(reader.connection).faults == ()
        for control in controls:
            wanted = Search(channel="relay", control_id=control)
            assert search(reader.connection, reader, wanted, time.time_ns() // 1000).messages, control
    finally:
        reader.close()
