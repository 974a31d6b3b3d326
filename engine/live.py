"""Channels as they run: each is started, replaced and removed alone, while the others go on.

Invariant: a source takes messages only while its channel's deliveries can be queued, and what was queued for a
destination follows it through every change of its wiring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress

from engine import observe, registry
from engine.errors import InterlockError, NotFound, StoreUnavailable
from engine.intake import take
from engine.model import Answer, Arrival
from engine.outlet import Outlet
from engine.ports import Accept, Destination, Ports, Role, Running, Source, Store
from engine.recovery import hold_removed, restore
from engine.store.standing import State
from engine.wiring import Channel, DestinationSpec
from engine.worker import Worker

SOURCE_PAUSE_SECONDS = 5.0
"""How long until a source that could not start is tried again."""
STORE_PAUSE_SECONDS = 1.0
"""How long until a store that was not there is asked again for what an exchanged outlet has to send."""


class Live:
    """Every running channel: its wiring, its source, its outlets, and what a person set."""

    def __init__(self, ports: Ports, store: Store, worker: Worker, role: Role) -> None:
        self.channels: dict[str, Running] = {}
        self.sources: dict[str, Source] = {}
        self.states: dict[tuple[str, str], State] = {}
        self.troubles: dict[str, str] = {}  # why a source is not up, by channel
        self._again: set[asyncio.Task[None]] = set()
        self._ports = ports
        self._store = store
        self._worker = worker
        self._takes = role in ("all", "ingress")
        self._carries = role in ("all", "worker")

    async def start(self, channel: Channel) -> None:
        """Run a channel: its outlets first, with what the store holds for them, then its source.

        Raises:
            InterlockError: it could not be made or the store was not there; then nothing of it runs.
        """
        await self._store.know(channel.owner)
        running = registry.running(channel)
        made = _destinations(channel, channel.destinations)
        registry.source(channel)  # can it be made? It opens nothing
        self.channels[channel.name] = running
        if self._carries:
            await self._start_outlets(running, made)
        await self._start_source(running)

    async def _start_outlets(self, running: Running, made: Mapping[str, Destination]) -> None:
        """With what the store holds for them."""
        for spec in running.channel.destinations:
            self._open(running, spec, made[spec.name])
        try:
            await restore(self._store, self._worker, running.channel)
        except BaseException:
            await self.remove(running.channel.name)
            raise

    async def replace(self, channel: Channel) -> None:
        """Take a channel's new revision: what did not change stays open, the rest is exchanged.

        Raises:
            InterlockError: a part of it could not be made; then the channel is as it was.
        """
        old = self.channels[channel.name]
        running = registry.running(channel)
        going = tuple(spec for spec in old.channel.destinations if not _stays(spec, old.channel, channel))
        coming = tuple(spec for spec in channel.destinations if not _stays(spec, channel, old.channel))
        made = _destinations(channel, coming)
        registry.source(channel)  # can it be made? It opens nothing
        same_source = old.channel.source == channel.source and old.taking and channel.name in self.sources
        if not same_source:
            await self._stop_source(channel.name)
        for spec in going:
            await self._close(channel.name, spec.name)
        self._exchange(running, coming, made)
        if self._carries:
            for spec in coming:
                await self._restore(channel, spec.name)
            await self._hold_removed(channel)
        if not same_source:
            await self._start_source(running)

    def _exchange(self, running: Running, coming: tuple[DestinationSpec, ...], made: Mapping[str, Destination]) -> None:
        """From here on the new revision decides, for all outlets at once."""
        name = running.channel.name
        self.channels[name] = running
        if not self._carries:
            return
        for spec in coming:
            self._open(running, spec, made[spec.name])
        for spec in running.channel.destinations:
            self._worker.outlets[name, spec.name].running = running

    async def _restore(self, channel: Channel, destination: str) -> None:
        """Fill a new outlet, when the store is there: it stands still until it has everything."""
        while True:
            try:
                await restore(self._store, self._worker, channel, destination)
            except StoreUnavailable as error:
                observe.failed("restore_failed", error, channel=channel.name, destination=destination)
                await asyncio.sleep(STORE_PAUSE_SECONDS)
            else:
                return

    async def _hold_removed(self, channel: Channel) -> None:
        try:
            await hold_removed(self._store, channel)
        except StoreUnavailable as error:  # the sweeper comes by and does it
            observe.failed("removed_not_held", error, channel=channel.name)

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
        running = self.find(name, destination)
        self.states[name, destination] = state
        for spec in running.channel.destinations:
            self._apply(name, spec.name)
        if not destination:
            await (self._start_source(running) if state == "started" else self._stop_source(name))

    def find(self, name: str, destination: str) -> Running:
        """The channel of that name, which has that destination ("": the channel itself is meant).

        Raises:
            NotFound: when there is no such channel or destination.
        """
        running = self.channels.get(name)
        if running is None or (destination and running.channel.destination(destination) is None):
            raise NotFound(
                "there is no such channel or destination", advice="`interlock channel list` shows what there is."
            )
        return running

    async def stop(self) -> None:
        """Stop taking messages, finish what is being answered and delivered, close every connection."""
        again = tuple(self._again)
        for task in again:
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)
        for running in self.channels.values():
            running.taking = False
        await asyncio.gather(*(self._stop_source(name) for name in tuple(self.sources)))
        await self._worker.drain()
        await asyncio.gather(*(outlet.destination.close() for outlet in self._worker.outlets.values()))

    def _open(self, running: Running, spec: DestinationSpec, destination: Destination) -> None:
        name = running.channel.name
        outlet = Outlet(running, spec, destination, self._worker)
        outlet.hold("restoring")  # until `restore` has filled its lanes
        self._worker.outlets[name, spec.name] = outlet
        self._apply(name, spec.name)

    async def _close(self, name: str, destination: str) -> None:
        """Finish what is under way, then release its lanes; while it drains a stop of the process still finds it."""
        outlet = self._worker.outlets.get((name, destination))
        if outlet is not None:
            await outlet.drain()
            outlet.release_all()
            del self._worker.outlets[name, destination]
            try:
                await outlet.destination.close()
            except Exception as error:  # a connector may raise anything; the change goes on without it
                observe.event("connector_not_closed", channel=name, destination=destination, error=type(error).__name__)

    def _apply(self, name: str, destination: str) -> None:
        outlet = self._worker.outlets.get((name, destination))
        if outlet is None:
            return  # another process carries it
        stopped = self.states.get((name, "")) == "stopped"
        held = stopped or self.states.get((name, destination), "started") != "started"
        (outlet.hold if held else outlet.unhold)("person")

    async def _start_source(self, running: Running) -> None:
        """Start a channel's source, unless a person wants it silent; one that cannot start is tried again."""
        name = running.channel.name
        running.taking = self.states.get((name, ""), "started") == "started"
        if not self._takes or not running.taking or name in self.sources:
            return
        source = registry.source(running.channel)
        try:
            await source.start(self._accept(name))
            if name in self.sources or not running.taking or self.channels.get(name) is not running:
                await source.stop()  # while it started, somebody else started it, or nobody wants it any more
                return
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
            try:
                await source.stop()
            except Exception as error:  # the others are to be stopped all the same
                observe.event("connector_not_closed", channel=name, error=type(error).__name__)
            else:
                observe.event("source_stopped", channel=name)

    def _accept(self, name: str) -> Accept:
        """What the source calls: it follows the channel through every revision."""

        def take_one(raw: bytes, arrival: Arrival) -> Awaitable[Answer]:
            return take(raw, arrival, self.channels[name], self._ports)

        return take_one


def _destinations(channel: Channel, specs: tuple[DestinationSpec, ...]) -> Mapping[str, Destination]:
    """Every one is made before anything is exchanged: one that cannot be made must not leave a channel half new."""
    return {spec.name: registry.destination(channel, spec) for spec in specs}


def _stays(spec: DestinationSpec, channel: Channel, other: Channel) -> bool:
    """True when the outlet of a channel's destination serves another revision, too; its lanes' rule is by class."""
    return other.destination(spec.name) == spec and other.kind == channel.kind
