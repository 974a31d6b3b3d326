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
from typing import Any

from engine import __version__, observe, registry
from engine.applications import Applications
from engine.broker import open_broker
from engine.channels.site import Changes, Site
from engine.connectors.sockets import share_ports
from engine.control import SOCKET, ControlServer
from engine.conversions.pool import Conversions
from engine.errors import Configuration
from engine.following import Following
from engine.formats.fhir.checking import OutputChecks
from engine.formats.hl7v2.conformance import Conformance
from engine.live import Live
from engine.model import show_id
from engine.organizations.directory import SITE, SiteDirectory
from engine.ports import Ports
from engine.recovery import recover
from engine.reloading import Reloading
from engine.settings import Settings
from engine.status import report
from engine.store import standing
from engine.store.committing import CommittingStore
from engine.store.opening import is_shared, open_any, open_when_there
from engine.store.sqlite import lock_folder
from engine.store.standing import State
from engine.sweeper import Sweeper
from engine.web.app import HttpServer, build_app
from engine.worker import Worker

COLLECT_AFTER = 20_000
"""New objects after which the collector looks for cycles among them."""
ENDING = (signal.SIGTERM, signal.SIGINT)
"""What ends the process: gracefully, the second time at once."""


class Runtime:
    """One engine process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ready = False
        self._lock = -1
        self._stopping = asyncio.Event()
        self._taking: set[asyncio.Task[None]] = set()

    @property
    def site(self) -> Site:
        """The folder of channels as it was last taken."""
        return self.reloading.site

    @property
    def is_ending(self) -> bool:
        """True once somebody told the process to end."""
        return self._stopping.is_set()

    @property
    def channels(self) -> dict[str, Any]:
        """The running channels by name."""
        return self.live.channels

    async def start(self) -> None:
        """Open the store, recover, start every sound channel, the control socket and the HTTP side.

        Raises:
            UnsafeStore, Configuration, StoreUnavailable: with what to do next.
        """
        settings = self.settings
        self._lock = lock_folder(settings.data)
        self.store = await self._open_store()
        if self.store.shared:
            share_ports()
        await self._compose()
        await recover(self.store)
        if settings.role in ("all", "worker"):
            await self.broker.start(self._heard)
        if self.store.shared and settings.role in ("all", "ingress"):
            await self.broker.hear_answers(self.applications.told)
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

    async def _open_store(self) -> CommittingStore:
        """Open the store; while PostgreSQL is not there, wait for it or for the end of this process."""
        chosen = self.settings.data, self.settings.store, self.settings.key, self.settings.role
        if not is_shared(self.settings.store):
            return await open_any(*chosen)
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end)
        try:
            return await open_when_there(*chosen, self._stopping)
        finally:
            for number in ENDING:
                loop.remove_signal_handler(number)

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
        self.output_checks = OutputChecks(settings.fhir_definitions)
        self.applications = Applications(self.store, is_told=self.settings.broker not in ("", "local"))
        self.ports = Ports(
            self.store, self.directory, tables, apply_maps, _NoLanes(), self.applications, self.conformance.check
        )
        self.ports.check_output = self.output_checks.check
        self.broker = open_broker(settings.broker)
        self.worker = Worker(self.ports, self.broker, settings.memory_budget)
        self.worker.on_settled = self.applications.settled
        self.ports.lanes = self.worker
        self.conversions = Conversions(settings.workers, settings.tables, tables, apply_maps)
        if settings.workers and settings.role in ("all", "worker"):
            self.ports.convert = self.conversions.convert
            self.conversions.start()
        self.live = Live(self.ports, self.store, self.worker, settings.role)
        self.reloading = Reloading(settings.channels, self.ports, self.store, self.live, self.conversions)
        following = Following(self.store, self.live, self.reload)
        self.sweeper = Sweeper(self.store, self.worker, settings.data, settings.disk_reserve, following.look)
        self.store.on_expelled = self.worker.sharing.lose_all

    def _heard(self, channel: str) -> None:
        """A channel rang: somebody else's word, so only channels that run here are looked at."""
        if channel in self.live.channels:
            task = asyncio.get_running_loop().create_task(self.worker.sharing.take(channel))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    async def reload(self) -> Changes:
        """Take the folder of channels as it is now, one channel at a time; a faulty one runs on as it was.

        Raises:
            Conflict: the process is ending.
        """
        return await self.reloading.reload()

    async def set_state(self, channel: str, destination: str, state: State, reason: str, actor: str) -> None:
        """Start, pause or stop a channel or a destination; it stays so over restarts. Recorded first, then done.

        Raises:
            NotFound, StoreUnavailable: nothing has changed.
            Conflict: the process is ending.
        """
        await self.reloading.set_state(channel, destination, state, reason, actor)

    def report(self) -> list[dict[str, Any]]:
        """What every channel is doing, one dict each."""
        return report(self.live, self.worker)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads; a second SIGTERM ends at once."""
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        await self._stopping.wait()
        await self.stop()

    async def stop(self) -> None:
        """End gracefully: not ready, no more messages, finish what is under way, release, close."""
        self.ready = False
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
        await self.reloading.end()
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
        yield "live", self.reloading.stop_live
        yield "conversions", self.conversions.stop
        yield "conformance", self.conformance.close
        yield "output checks", self.output_checks.close
        if hasattr(self, "http"):
            yield "http", self.http.stop

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
