"""The process: a reload changes what changed, a person's word is kept before it takes effect, a stop always ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine import reloading as module
from engine.errors import Conflict, StoreUnavailable
from engine.runtime import Runtime
from engine.settings import Settings, load
from engine.store import standing
from engine.store.sqlite import lock_folder
from engine.web.access import make_token

CHANNEL = """\
name = "relay"
title = "Relay"
class = "result"
environment = "test"

[source]
listen = "memory://in"

[[destination]]
name = "out"
to = "memory://out"
"""


def write(folder: Path, text: str = CHANNEL, name: str = "relay") -> None:
    place = folder / "channels" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "channel.toml").write_text(text.replace('"relay"', f'"{name}"'))


def settings(folder: Path) -> Settings:
    return load(
        {
            "INTERLOCK_DATA": str(folder / "data"),
            "INTERLOCK_CHANNELS": str(folder / "channels"),
            "INTERLOCK_HTTP": "127.0.0.1:0",
        }
    )


def run(folder: Path, story: Callable[[Runtime], Awaitable[Any]]) -> None:
    """Tell a story of a process with one channel, then stop it."""
    write(folder)
    chosen = settings(folder)
    chosen.data.mkdir()
    make_token(chosen.token_file)

    async def whole() -> None:
        runtime = Runtime(chosen)
        await runtime.start()
        try:
            await story(runtime)
        finally:
            if runtime.ready:
                await runtime.stop()

    asyncio.run(asyncio.wait_for(whole(), 60))


def released(folder: Path) -> bool:
    """True when another process could take the data folder."""
    os.close(lock_folder(folder / "data"))
    return True


def test_the_same_revision_touches_nothing(tmp_path: Path) -> None:
    async def story(runtime: Runtime) -> None:
        before = (dict(runtime.channels), dict(runtime.live.sources), dict(runtime.worker.outlets))
        write(tmp_path)
        changes = await runtime.reload()
        assert not (changes.added or changes.changed or changes.removed or changes.kept)
        assert (dict(runtime.channels), dict(runtime.live.sources), dict(runtime.worker.outlets)) == before

    run(tmp_path, story)


def test_a_folder_of_channels_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    async def story(runtime: Runtime) -> None:
        shutil.rmtree(tmp_path / "channels")
        changes = await runtime.reload()
        assert changes.kept == ("relay",) and not changes.removed
        assert "relay" in runtime.live.sources and runtime.site.faults

    run(tmp_path, story)


def test_tables_are_read_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(runtime: Runtime) -> None:
        seen: list[threading.Thread] = []
        kind = type(runtime.ports.tables)

        def reload(self: object) -> list[str]:
            seen.append(threading.current_thread())
            return []

        monkeypatch.setattr(kind, "reload", reload)
        await runtime.reload()
        assert seen and seen[0] is not threading.main_thread()

    run(tmp_path, story)


def test_a_connector_that_raises_keeps_no_other_channel_from_changing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(runtime: Runtime) -> None:
        start = runtime.live.start

        async def fails(channel: Any) -> None:
            if channel.name == "first":
                raise ZeroDivisionError
            await start(channel)

        monkeypatch.setattr(runtime.live, "start", fails)
        for name in ("first", "second"):
            write(tmp_path, CHANNEL.replace("memory://in", f"memory://{name}"), name)
        await runtime.reload()
        assert sorted(runtime.channels) == ["relay", "second"]

    run(tmp_path, story)


def test_a_state_that_cannot_be_recorded_does_not_take_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(work: Any) -> Any:
        raise StoreUnavailable("on purpose")

    async def story(runtime: Runtime) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(runtime.store, "act", fails)
            with pytest.raises(StoreUnavailable):
                await runtime.set_state("relay", "out", "paused", "", "maria")
        assert not runtime.worker.outlets["relay", "out"].paused and not runtime.live.states
        await runtime.set_state("relay", "out", "paused", "", "maria")
        assert runtime.worker.outlets["relay", "out"].paused
        assert await runtime.store.read(standing.channel_states) == {("relay", "out"): "paused"}

    run(tmp_path, story)


def test_a_state_waits_for_the_reload_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(runtime: Runtime) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        replace = runtime.live.replace

        async def slow(channel: Any) -> None:
            begun.set()
            await go_on.wait()
            await replace(channel)

        monkeypatch.setattr(runtime.live, "replace", slow)
        write(tmp_path, CHANNEL + "connections = 1\n")
        reloading = asyncio.ensure_future(runtime.reload())
        await begun.wait()
        setting = asyncio.ensure_future(runtime.set_state("relay", "out", "paused", "", "maria"))
        await runtime.store.read(standing.channel_states)
        assert not setting.done() and not runtime.live.states
        go_on.set()
        await asyncio.gather(reloading, setting)
        assert runtime.worker.outlets["relay", "out"].paused

    run(tmp_path, story)


def test_a_stop_ends_the_reload_that_a_signal_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(runtime: Runtime) -> None:
        begun = asyncio.Event()

        async def endless(*given: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(runtime.live, "replace", endless)
        write(tmp_path, CHANNEL + "connections = 1\n")
        runtime._reload_soon()
        await begun.wait()
        await runtime.stop()
        assert runtime._reload_task.done() and not runtime.live.sources
        with pytest.raises(Conflict):
            await runtime.reload()
        with pytest.raises(Conflict):
            await runtime.set_state("relay", "", "started", "", "maria")
        assert not runtime.live.sources and released(tmp_path)

    run(tmp_path, story)


@pytest.mark.parametrize("part", ["control", "sweeper", "live", "conformance", "http"])
def test_a_part_that_does_not_stop_keeps_no_other_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async def story(runtime: Runtime) -> None:
        ended: list[str] = []
        for name in ("control", "sweeper", "live", "conformance", "http"):
            verb = "close" if name == "conformance" else "stop"
            stop = getattr(getattr(runtime, name), verb)

            async def noted(name: str = name, stop: Any = stop) -> None:
                await stop()
                ended.append(name)
                if name == part:
                    raise OSError("on purpose")

            monkeypatch.setattr(getattr(runtime, name), verb, noted)
        await runtime.stop()
        assert ended == ["control", "sweeper", "live", "conformance", "http"]
        assert released(tmp_path)

    run(tmp_path, story)


def test_what_a_reload_for_a_signal_raises_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: Any) -> Any:
        raise OSError("on purpose")

    async def story(runtime: Runtime) -> None:
        monkeypatch.setattr(module, "read_site", fails)
        runtime._reload_soon()
        await runtime._reload_task
        assert "reload_failed" in caplog.text

    with caplog.at_level("INFO", logger="interlock"):
        run(tmp_path, story)
