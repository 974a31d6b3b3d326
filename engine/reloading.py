"""Changes while the server runs: the folder of channels taken as it is now, or a person's word on one of them.

Invariant: one change at a time, and none once the process is ending; what has a fault runs on as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import observe
from engine.channels.checks import Known
from engine.channels.faults import Fault
from engine.channels.site import Changes, Site, diff, read_site
from engine.conversions.pool import Conversions
from engine.errors import Configuration, Conflict, InterlockError
from engine.live import Live
from engine.organizations.directory import SITE
from engine.ports import Ports
from engine.store import acts, standing
from engine.store.committing import CommittingStore
from engine.store.standing import State


class Reloading:
    """The site as it was last taken, and how it is changed."""

    def __init__(
        self, folder: Path, ports: Ports, store: CommittingStore, live: Live, conversions: Conversions
    ) -> None:
        self.site = Site({})
        self._folder = folder
        self._ports = ports
        self._store = store
        self._live = live
        self._conversions = conversions
        self._changing = asyncio.Lock()  # one reload or one person's change of a channel at a time
        self._reloads: set[asyncio.Task[Any]] = set()
        self._ended = False

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
        self._conversions.tables_changed()
        known = Known(tables=frozenset(self._ports.tables.names()), running=frozenset(self._live.channels))
        site = await asyncio.to_thread(read_site, self._folder, known)
        self.site = replace(site, faults=(*table_fault, *site.faults))
        running = {name: live.channel for name, live in self._live.channels.items()}
        changes = diff(running, self.site)
        for name in changes.removed:
            await self._live.remove(name)
        for name in (*changes.changed, *changes.added):
            await self._take_channel(name, name in running)
        return changes

    async def _reload_tables(self) -> tuple[Fault, ...]:
        """Take the tables as they are now; with a fault in one all stay as they were."""
        try:
            for name in await asyncio.to_thread(self._ports.tables.reload):
                observe.event("table_changed", table=name, revision=self._ports.tables.revision(name))
        except Configuration as error:
            file, _, line = error.where.rpartition(":")
            return (Fault(file or error.where, int(line) if line.isdigit() else 1, error.text, error.advice),)
        return ()

    async def _take_channel(self, name: str, replaces: bool) -> None:
        channel = self.site.channels[name]
        try:
            await self._store.know(channel.owner)
            await self._store.act(lambda t: standing.record_revision(t, channel))
            await (self._live.replace(channel) if replaces else self._live.start(channel))
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
            self._live.find(channel, destination)
            await self._store.act(lambda t: acts.set_channel_state(t, channel, destination, state, reason, actor, SITE))
            await self._live.set(channel, destination, state)

    async def end(self) -> None:
        """Refuse every change from now on, and cancel a reload: it could start sources after they were stopped."""
        self._ended = True
        reloads = tuple(self._reloads)
        for task in reloads:
            task.cancel()
        await asyncio.gather(*reloads, return_exceptions=True)

    async def stop_live(self) -> None:
        """Stop every channel, after a person's change that is under way."""
        async with self._changing:
            await self._live.stop()

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
