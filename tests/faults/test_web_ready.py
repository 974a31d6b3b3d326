"""Readiness on a disk that is nearly full: what it says of messages is what becomes of them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.errors import Reply, StoreUnavailable
from engine.model import MessageState, Receipt, Verdict
from engine.store import sql
from engine.store.sqlite import SqliteStore
from engine.web import probes
from engine.web.app import build_app
from tests.unit.web_help import open_runtime

from . import disks


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\1" * max(0, status.f_bavail * status.f_frsize - leave))
    return ballast


async def keep(store: SqliteStore, size: int) -> None:
    number, at = store.ids.next(), store.now()
    raw = os.urandom(size)
    verdict = Verdict(Reply.ERROR, "unreadable", message=number, at=at)
    await store.keep(Receipt(number, "lab", "site", at, raw, size, MessageState.HELD, verdict, canonical=raw))


@pytest.mark.root
def test_a_disk_without_room_for_a_message_is_not_ready_until_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reserve 0: nothing but the writing itself says that the disk is full."""
    disks.needs_root()
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.0)

    async def run(disk: Path) -> None:
        async with open_runtime(disk) as (runtime, _):
            runtime.settings = replace(runtime.settings, disk_reserve=0)
            transport = httpx.ASGITransport(build_app(runtime))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

                async def reasons() -> Any:
                    return (await client.get("/readyz")).json()["reasons"]

                await keep(runtime.store, 40 << 10)
                assert await reasons() == []
                ballast = fill(disk, leave=24 << 10)
                await runtime.store.act(lambda t: t.connection.execute(sql.SET_SITE, ("probed_at", "0")).rowcount)
                with pytest.raises(StoreUnavailable):
                    await keep(runtime.store, probes.MESSAGE_BYTES)
                assert await reasons() == ["store_not_writable"]
                ballast.unlink()
                assert await reasons() == []
                await keep(runtime.store, probes.MESSAGE_BYTES)

    with disks.tmpfs(tmp_path / "disk", 16) as disk:
        asyncio.run(run(disk))


def test_what_the_probe_writes_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "NEARLY_FULL_BYTES", 1 << 62)

    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, _):
            transport = httpx.ASGITransport(build_app(runtime))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                assert (await client.get("/readyz")).status_code == 200
            query = "SELECT value FROM site WHERE name = 'probed_room'"
            assert await runtime.store.read(lambda c: c.execute(query).fetchone()) == ("",)

    asyncio.run(run())
