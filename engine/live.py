"""Channels as they run: each is started, replaced and removed alone, while the others go on.

Invariant: a source takes messages only while its channel's deliveries can be queued, and what was queued for a
destination follows it through every change of its wiring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Literal

from engine import observe, registry
from engine.errors import InterlockError, NotFound
from engine.intake import take
from engine.model import Answer, Arrival
from engine.ports import Accept, Ports, Running, Source
from engine.recovery import hold_removed, restore
from engine.store.sqlite import SqliteStore
from engine.wiring import Channel
from engine.worker import Outlet, Worker

State = Literal["started", "paused", "stopped"]
"""A channel that is paused takes nothing and goes on delivering; one that is stopped does neither."""

SOURCE_PAUSE_SECONDS = 5.0
"""How long until a source that could not start is tried again."""


class Live:
    """Every running channel: its wiring, its source, its outlets, and what a person set."""

    def __init__(self, ports: Ports, store: SqliteStore, worker: Worker) -> None:
        self.channels: dict[str, Running] = {}
        self.sources: dict[str, Source] = {}
        self.states: dict[tuple[str, str], State] = {}
        self.troubles: dict[str, str] = {}  # why a source is not up, by channel
        self._again: set[asyncio.Task[None]] = set()
        self._ports = ports
        self._store = store
        self._worker = worker

    async def start(self, channel: Channel) -> None:
        """Run a channel: its outlets first, with what the store holds for them, then its source."""
        await self._store.know(channel.owner)
        running = registry.running(channel)
        self.channels[channel.name] = running
        for spec in channel.destinations:
            self._open(running, spec.name)
        await hold_removed(self._store, channel)
        await restore(self._store, self._worker, channel)
        await self._start_source(running)

    async def replace(self, channel: Channel) -> None:
        """Take a channel's new revision: what did not change stays open, the rest is exchanged."""
        old = self.channels[channel.name]
        running = registry.running(channel)
        same_source = old.channel.source == channel.source and old.taking
        if not same_source:
            await self._stop_source(channel.name)
        for spec in old.channel.destinations:
            if channel.destination(spec.name) != spec:
                await self._close(channel.name, spec.name)
        self.channels[channel.name] = running
        for spec in channel.destinations:
            outlet = self._worker.outlets.get((channel.name, spec.name))
            if outlet is None:
                self._open(running, spec.name)
                await restore(self._store, self._worker, channel, spec.name)
            else:
                outlet.running = running
        await hold_removed(self._store, channel)
        if not same_source:
            await self._start_source(running)

    async def remove(self, name: str) -> None:
        """Stop a channel; what is queued stays in the store until the channel comes back."""
        await self._stop_source(name)
        running = self.channels.pop(name)
        for spec in running.channel.destinations:
            await self._close(name, spec.name)

    async def set(self, name: str, destination: str, state: State) -> None:
        """Start, pause or stop a channel, or one of its destinations.

        Raises:
            NotFound: when there is no such channel or destination.
        """
        running = self.channels.get(name)
        if running is None or (destination and running.channel.destination(destination) is None):
            raise NotFound(
                "there is no such channel or destination", advice="`interlock channel list` shows what there is."
            )
        self.states[name, destination] = state
        for spec in running.channel.destinations:
            self._apply(name, spec.name)
        if not destination:
            await (self._start_source(running) if state == "started" else self._stop_source(name))

    async def stop(self) -> None:
        """Stop taking messages, finish what is being answered and delivered, close every connection."""
        for task in self._again:
            task.cancel()
        for running in self.channels.values():
            running.taking = False
        await asyncio.gather(*(self._stop_source(name) for name in tuple(self.sources)))
        await self._worker.drain()
        await asyncio.gather(*(outlet.destination.close() for outlet in self._worker.outlets.values()))

    def _open(self, running: Running, destination: str) -> None:
        channel = running.channel
        spec = channel.destination(destination)
        assert spec is not None
        outlet = Outlet(running, spec, registry.destination(channel, spec), self._worker)
        self._worker.outlets[channel.name, destination] = outlet
        self._apply(channel.name, destination)

    async def _close(self, name: str, destination: str) -> None:
        outlet = self._worker.outlets.pop((name, destination), None)
        if outlet is not None:
            await outlet.drain()
            outlet.forget_all()
            await outlet.destination.close()

    def _apply(self, name: str, destination: str) -> None:
        outlet = self._worker.outlets[name, destination]
        stopped = self.states.get((name, "")) == "stopped"
        held = stopped or self.states.get((name, destination), "started") != "started"
        (outlet.hold if held else outlet.unhold)("person")

    async def _start_source(self, running: Running) -> None:
        """Start a channel's source, unless a person wants it silent; one that cannot start is tried again."""
        name = running.channel.name
        running.taking = self.states.get((name, ""), "started") == "started"
        if not running.taking or name in self.sources:
            return
        source = registry.source(running.channel)
        try:
            await source.start(self._accept(name))
        except (InterlockError, OSError) as error:
            text = error.text if isinstance(error, InterlockError) else f"{type(error).__name__}: {error.strerror}"
            self.troubles[name] = text
            observe.event("source_not_started", channel=name, reason=text)
            with suppress(InterlockError, OSError):
                await source.stop()
            self._try_again(running)
            return
        self.troubles.pop(name, None)
        self.sources[name] = source
        observe.event("source_started", channel=name, address=source.address)

    def _try_again(self, running: Running) -> None:
        """A port may be freed and a folder may come back: look again, as long as the channel is still this one."""

        async def again() -> None:
            await asyncio.sleep(SOURCE_PAUSE_SECONDS)
            if self.channels.get(running.channel.name) is running:
                await self._start_source(running)

        task = asyncio.get_running_loop().create_task(again())
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _stop_source(self, name: str) -> None:
        running = self.channels.get(name)
        if running is not None:
            running.taking = False
        source = self.sources.pop(name, None)
        if source is not None:
            await source.stop()
            observe.event("source_stopped", channel=name)

    def _accept(self, name: str) -> Accept:
        """What the source calls: it follows the channel through every revision."""

        def take_one(raw: bytes, arrival: Arrival) -> Awaitable[Answer]:
            return take(raw, arrival, self.channels[name], self._ports)

        return take_one
