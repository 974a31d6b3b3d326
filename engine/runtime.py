"""The composition root: puts the parts of one process together, starts them in order and stops them gracefully.

Invariant: nothing is taken before what an earlier process left is recovered; on SIGTERM readiness goes first, then the
sources, then what is under way is finished, and only then the store closes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from engine import __version__, observe, registry
from engine.applications import Applications
from engine.broker import open_broker
from engine.channels.checks import Known
from engine.channels.faults import Fault
from engine.channels.site import Changes, Site, diff, read_site
from engine.connectors.sockets import share_ports
from engine.control import SOCKET, ControlServer
from engine.conversions.pool import Conversions
from engine.errors import Configuration, Conflict, InterlockError
from engine.following import Following
from engine.formats.hl7v2.conformance import Conformance
from engine.live import Live
from engine.model import show_id
from engine.organizations.directory import SITE, SiteDirectory
from engine.ports import Ports
from engine.recovery import recover
from engine.settings import Settings
from engine.status import report
from engine.store import acts, standing
from engine.store.opening import open_any
from engine.store.sqlite import lock_folder
from engine.store.standing import State
from engine.sweeper import Sweeper
from engine.web.app import HttpServer, build_app
from engine.worker import Worker

COLLECT_AFTER = 20_000
"""New objects after which the collector looks for cycles among them."""


class Runtime:
    """One engine process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ready = False
        self.site = Site({})
        self._lock = -1
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()  # one reload or one person's change of a channel at a time
        self._reloads: set[asyncio.Task[Any]] = set()
        self._ended = False
        self._taking: set[asyncio.Task[None]] = set()

    @property
    def channels(self) -> dict[str, Any]:
        """The running channels by name."""
        return self.live.channels

    async def start(self) -> None:
        """Open the store, recover, start every sound channel, the control socket and the HTTP side.

        Raises:
            UnsafeStore, Configuration: with what to do next.
        """
        settings = self.settings
        self._lock = lock_folder(settings.data)
        self.store = await open_any(settings.data, settings.store, settings.key, settings.role)
        if self.store.shared:
            share_ports()
        await self._compose()
        await recover(self.store)
        if settings.role in ("all", "worker"):
            await self.broker.start(self._heard)
        self.live.states.update(await self.store.read(standing.channel_states))
        await self.reload()
        if self.site.faults and not self.live.channels:
            await self.stop()
            raise _no_channel(self.site)
        self.sweeper.start()
        self.control = ControlServer(settings.data / SOCKET, self)
        await self.control.start()
        self.http = HttpServer(build_app(self), *_host_port(settings.http))
        await self.http.start()
        _quiet_collector()
        self.ready = True
        observe.event("started", version=__version__, count=len(self.live.channels))

    async def _compose(self) -> None:
        """Hand every part what it needs, once."""
        settings = self.settings
        await self.store.know(SITE)
        agreed = await self.store.act(lambda t: standing.agreements(t, settings.agreements_in_place, SITE))
        tables, apply_maps = registry.tables(settings.tables), registry.maps()
        if tables is None or apply_maps is None:
            raise Configuration("starting: no mapping tables are installed", advice="Reinstall the package interlock.")
        self.directory = SiteDirectory(agreed)
        self.conformance = Conformance()
        self.applications = Applications(self.store)
        self.ports = Ports(
            self.store, self.directory, tables, apply_maps, _NoLanes(), self.applications, self.conformance.check
        )
        self.broker = open_broker(settings.broker)
        self.worker = Worker(self.ports, self.broker, settings.memory_budget)
        self.worker.on_settled = self.applications.settled
        self.ports.lanes = self.worker
        self.conversions = Conversions(settings.workers, settings.tables, tables, apply_maps)
        if settings.workers and settings.role in ("all", "worker"):
            self.ports.convert = self.conversions.convert
            self.conversions.start()
        self.live = Live(self.ports, self.store, self.worker, settings.role)
        following = Following(self.store, self.live, self.reload)
        self.sweeper = Sweeper(self.store, self.worker, settings.data, settings.disk_reserve, following.look)
        self.store.on_expelled = self.worker.lose_all

    def _heard(self, channel: str) -> None:
        """A channel rang: somebody else's word, so only channels that run here are looked at."""
        if channel in self.live.channels:
            task = asyncio.get_running_loop().create_task(self.worker.take(channel))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def reload(self) -> Changes:
        """Take the folder of channels as it is now, one channel at a time; a faulty one runs on as it was.

        Raises:
            Conflict: the process is ending.
        """
        with self._cancelled_by_stop():
            async with self._changing:
                self._refuse_when_ending()
                return await self._take_site()

    async def _take_site(self) -> Changes:
        table_fault = await self._reload_tables()
        self.conversions.tables_changed()
        known = Known(tables=frozenset(self.ports.tables.names()), running=frozenset(self.live.channels))
        site = await asyncio.to_thread(read_site, self.settings.channels, known)
        self.site = replace(site, faults=(*table_fault, *site.faults))
        running = {name: live.channel for name, live in self.live.channels.items()}
        changes = diff(running, self.site)
        for name in changes.removed:
            await self.live.remove(name)
        for name in (*changes.changed, *changes.added):
            await self._take_up(name, name in running)
        return changes

    async def _reload_tables(self) -> tuple[Fault, ...]:
        """Take the tables as they are now; with a fault in one all stay as they were."""
        try:
            for name in await asyncio.to_thread(self.ports.tables.reload):
                observe.event("table_changed", table=name, revision=self.ports.tables.revision(name))
        except Configuration as error:
            file, _, line = error.where.rpartition(":")
            return (Fault(file or error.where, int(line) if line.isdigit() else 1, error.text, error.advice),)
        return ()

    async def _take_up(self, name: str, replaces: bool) -> None:
        channel = self.site.channels[name]
        try:
            await self.store.know(channel.owner)
            await self.store.act(lambda t: standing.record_revision(t, channel))
            await (self.live.replace(channel) if replaces else self.live.start(channel))
        except InterlockError as error:  # this channel stays as it was; the others go on
            observe.failed("channel_not_started", error, channel=name)
        except Exception as error:  # a connector may raise anything
            observe.event("channel_not_started", channel=name, error=type(error).__name__)
        else:
            observe.event("channel_changed" if replaces else "channel_started", channel=name, revision=channel.revision)

    async def set_state(self, channel: str, destination: str, state: State, reason: str, actor: str) -> None:
        """Start, pause or stop a channel or a destination; it stays so over restarts. Recorded first, then done.

        Raises:
            NotFound, StoreUnavailable: nothing has changed.
            Conflict: the process is ending.
        """
        async with self._changing:
            self._refuse_when_ending()
            self.live.find(channel, destination)
            await self.store.act(lambda t: acts.set_channel_state(t, channel, destination, state, reason, actor, SITE))
            await self.live.set(channel, destination, state)

    def report(self) -> list[dict[str, Any]]:
        """What every channel is doing, one dict each."""
        return report(self.live, self.worker)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads; a second SIGTERM ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        await self._stopping.wait()
        await self.stop()

    async def stop(self) -> None:
        """End gracefully: not ready, no more messages, finish what is under way, release, close."""
        self.ready = False
        self._ended = True
        try:
            async with asyncio.timeout(self.settings.grace_seconds):
                await self._stop_parts()
        except TimeoutError:  # what is still claimed is in doubt for the next process
            observe.event("stopped_late", seconds=self.settings.grace_seconds)
        finally:
            try:
                self.store.close()
            finally:
                os.close(self._lock)
        observe.event("stopped")

    async def _stop_parts(self) -> None:
        """One after the other; one that fails to stop keeps no other from stopping."""
        await self._cancel_reloads()
        for name, stop in self._stops():
            try:
                await stop()
            except Exception as error:
                observe.event("part_not_stopped", reason=name, error=type(error).__name__)

    def _stops(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """How each part is stopped, in order; a start that failed did not get to all of them."""
        for name in ("control", "sweeper"):
            if hasattr(self, name):
                yield name, getattr(self, name).stop
        if hasattr(self, "broker"):
            yield "broker", self.broker.stop
        yield "live", self._stop_live
        yield "conversions", self.conversions.stop
        yield "conformance", self.conformance.close
        if hasattr(self, "http"):
            yield "http", self.http.stop

    async def _stop_live(self) -> None:
        async with self._changing:
            await self.live.stop()

    async def _cancel_reloads(self) -> None:
        """A reload that goes on could start sources after they were stopped."""
        reloads = tuple(self._reloads)
        for task in reloads:
            task.cancel()
        await asyncio.gather(*reloads, return_exceptions=True)

    @contextmanager
    def _cancelled_by_stop(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._reloads.add(task)
        try:
            yield
        finally:
            self._reloads.discard(task)

    def _refuse_when_ending(self) -> None:
        if self._ended:
            raise Conflict("changing the channels: the server is stopping", advice="Ask again once it has started.")

    def _end(self) -> None:
        if self._stopping.is_set():
            os._exit(1)
        self._stopping.set()

    def _reload_soon(self) -> None:
        self._reload_task = asyncio.get_running_loop().create_task(self._reload_for_signal())

    async def _reload_for_signal(self) -> None:
        """Nobody waits for this one: what it raises is told in the log."""
        try:
            await self.reload()
        except Exception as error:
            observe.event("reload_failed", error=type(error).__name__)


class _NoLanes:
    """Stands in for the worker for the moment before it is made: the two need each other."""

    def offer(self, delivery: Any) -> None:
        raise RuntimeError(f"delivery {show_id(delivery.id)} was offered before the worker was there")


def _quiet_collector() -> None:
    """What stands now stays; a message leaves no cycles, so the collector need not look often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _no_channel(site: Site) -> Configuration:
    return Configuration(
        "no channel can run:\n" + "\n".join(str(fault) for fault in site.faults),
        code="no_channel",
        advice="Mend the faults above; `interlock check` shows them again.",
    )
