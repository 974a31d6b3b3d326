"""How this process shares lanes with others: it takes those that are due, and releases what others may carry.

Invariant: a process takes no more lanes than it can carry soon, so that the others find work, too; and no lane stays
owned in the store that is in nobody's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from engine import observe
from engine.errors import StoreUnavailable
from engine.lane import Lane, Memory
from engine.model import MICROSECONDS
from engine.outlet import STORE_PAUSE_SECONDS, Outlet
from engine.ports import Broker, Ports, Taken

LANES_AT_ONCE = 64
"""Lanes that are taken together from a store that several processes share."""
LANES_OWNED = 2 * LANES_AT_ONCE
"""With so many lanes of a channel a process takes no more."""
NOT_HERE_SECONDS = 5
"""A lane whose destination does not run here is left to others for so long."""


class Sharing:
    """Takes lanes for the outlets of this process, and releases them. `ending` stops the taking."""

    def __init__(self, ports: Ports, broker: Broker, outlets: Mapping[tuple[str, str], Outlet], memory: Memory) -> None:
        self.ending = False
        self._ports = ports
        self._broker = broker
        self._outlets = outlets
        self._memory = memory
        self._taking: dict[str, bool] = {}  # channels whose lanes are being taken; True: and once more after that
        self._more: set[str] = set()  # channels that have more lanes than were taken
        self._lost: set[tuple[str, str, str, bytes, int]] = set()  # owned lanes that were in nobody's memory

    @property
    def is_taking(self) -> bool:
        """True while lanes are being taken."""
        return bool(self._taking)

    # take

    async def take(self, channel: str) -> None:
        """Take lanes of a channel that nobody owns, as long as this process can carry more."""
        if channel in self._taking:
            self._taking[channel] = True
            return
        self._taking[channel] = True
        try:
            while self._taking[channel] and not self.ending:
                self._taking[channel] = False
                await self._take(channel)
        except StoreUnavailable as error:  # the sweeper comes by
            observe.failed("lanes_not_taken", error, channel=channel)
        finally:
            del self._taking[channel]

    async def _take(self, channel: str) -> None:
        while self._has_room(channel) and not self.ending:
            taken = await self._ports.store.take(channel, LANES_AT_ONCE, self._holding(channel))
            for one in taken:
                self._own(one)
            if len(taken) < LANES_AT_ONCE:
                self._more.discard(channel)
                return
        self._more.add(channel)

    def _holding(self, channel: str) -> frozenset[str]:
        """The channel's destinations at which a person decides what is in doubt."""
        outlets = self._outlets.items()
        return frozenset(name for (one, name), outlet in outlets if one == channel and outlet.spec.in_doubt == "hold")

    def _has_room(self, channel: str) -> bool:
        outlets = [outlet for (name, _), outlet in self._outlets.items() if name == channel]
        owned = sum(len(outlet.owned.lanes) for outlet in outlets)
        return bool(outlets) and owned < LANES_OWNED and self._memory.places_left > 0

    def _own(self, taken: Taken) -> None:
        outlet = self._outlets.get((taken.channel, taken.destination))
        if outlet is not None:
            outlet.owned.own(taken)
        else:
            self.release_unowned(
                taken.organization, taken.channel, taken.destination, taken.lane, taken.turn, NOT_HERE_SECONDS
            )

    # release

    def release(self, outlet: Outlet, lane: Lane, due: int | None, ended: bool) -> None:
        """Have the store know that an outlet has released a lane; when that fails, again until it does not."""
        channel = outlet.running.channel
        values = (channel.owner, channel.name, outlet.spec.name, lane.key, lane.turn, lane.known, due, ended)
        future = self._ports.store.release(*values)
        future.add_done_callback(partial(self._released, outlet, lane, due, ended))
        if due is not None and not self.ending:
            wait = max(0.0, (due - self._ports.store.now()) / MICROSECONDS)
            asyncio.get_running_loop().call_later(wait, self._broker.ring, channel.name)

    def _released(
        self, outlet: Outlet, lane: Lane, due: int | None, ended: bool, released: asyncio.Future[list[str]]
    ) -> None:
        if released.cancelled():
            return
        error = released.exception()
        if error is not None:
            observe.event("lane_not_released", channel=outlet.running.channel.name, error=type(error).__name__)
            if not self.ending:
                asyncio.get_running_loop().call_later(STORE_PAUSE_SECONDS, self.release, outlet, lane, due, ended)
            return
        if outlet.owned.releasing.get(lane.key) == lane.turn:
            del outlet.owned.releasing[lane.key]
        for channel in released.result():
            self._broker.ring(channel)
        name = outlet.running.channel.name
        if name in self._more and len(outlet.owned.lanes) < LANES_AT_ONCE:
            self._more.discard(name)
            self._broker.ring(name)

    def release_unowned(
        self, organization: str, channel: str, destination: str, lane: bytes, turn: int, seconds: int = 0
    ) -> None:
        """Release a lane that is this process's in the store, but no outlet's."""
        due = self._ports.store.now() + seconds * MICROSECONDS
        future = self._ports.store.release(organization, channel, destination, lane, turn, 0, due, False)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # `release_lost` finds it again

    async def release_lost(self) -> None:
        """The safety net of owned lanes: each is in memory and has a reason to be there, or is released.

        What is found twice in a row is no lane that is just coming or going.
        """
        for outlet in self._outlets.values():
            outlet.owned.release_idle()
        here = {
            (outlet.running.channel.owner, channel, destination, key, turn)
            for (channel, destination), outlet in self._outlets.items()
            for key, turn in outlet.owned.turns()
        }
        lost = await self._ports.store.owned() - here
        for lane in lost & self._lost:
            self.release_unowned(*lane)
        self._lost = lost

    def lose_all(self) -> None:
        """Other processes have taken over every lane of this one: begin with none, and take what is free."""
        observe.event("lanes_lost")
        for outlet in self._outlets.values():
            outlet.lose_all()
        for channel in {name for name, _ in self._outlets}:
            self._broker.ring(channel)
