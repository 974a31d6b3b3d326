"""What the other processes of a site decided: channels paused or stopped, and which revisions are live.

Invariant: every process ends up with the same channels in the same state. One whose folder does not hold the live
revision says so and goes on with what it has: it never serves a revision that its own folder does not show.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from engine import observe
from engine.live import Live
from engine.ports import Store
from engine.store import standing


class Following:
    """One process's look at what the others decided, at every turn of the sweeper."""

    def __init__(self, store: Store, live: Live, reload: Callable[[], Awaitable[Any]]) -> None:
        self._store = store
        self._live = live
        self._reload = reload
        self._told: set[tuple[str, str]] = set()  # revisions that were looked for here and not found

    async def look(self) -> None:
        """Take over the states of channels, and the folder again when another revision has become live."""
        for (channel, destination), state in (await self._store.read(standing.channel_states)).items():
            if self._live.states.get((channel, destination), "started") != state:
                self._live.states[channel, destination] = state
                if channel in self._live.channels:
                    await self._live.set(channel, destination, state)
        if missing := await self._missing():
            await self._reload()
            for channel, revision in await self._missing() & missing:
                self._told.add((channel, revision))
                observe.event("revision_not_here", channel=channel, revision=revision)

    async def _missing(self) -> set[tuple[str, str]]:
        """Live revisions of channels that run here in another one."""
        live = await self._store.read(standing.live_revisions)
        return {
            (name, live[name])
            for name, running in self._live.channels.items()
            if live.get(name, running.channel.revision) != running.channel.revision
        } - self._told
