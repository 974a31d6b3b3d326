"""The safety net: what a lost wake-up, a full disk or a dead destination would otherwise leave lying.

Invariant: a delivery that is due is offered within one walk over the open ones, whatever was lost in memory. The walk
is bounded: `ROWS_A_LOOK` a turn, further turns at once while there is something to do. It writes through `store.act`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from engine import observe
from engine.errors import InterlockError
from engine.ids import earliest
from engine.model import Delivery, DeliveryState
from engine.ports import Store
from engine.recovery import REMOVED
from engine.store import acts, backlog, standing
from engine.store.backlog import Sight
from engine.wiring import Channel
from engine.worker import Worker

TURN_SECONDS = 5.0
"""The longest a due delivery waits for a look after its wake-up was lost, in a store with few open ones."""
ROWS_A_LOOK = 1000
LOOKS_A_TURN = 20
"""While looks find something to do this many follow each other; the rest waits for the next turn."""


class Sweeper:
    """One task. `start` it after recovery; `stop` ends it at once."""

    def __init__(
        self, store: Store, worker: Worker, folder: Path, disk_reserve: int, follow: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._worker = worker
        self._folder = folder
        self._reserve = disk_reserve
        self._follow = follow  # what the other processes of the site decided
        self._cursor = backlog.BEGINNING
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to sweep."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run(self.turn))]
        if self._store.shared:
            self._tasks.append(loop.create_task(self._run(self._beat)))

    async def stop(self) -> None:
        """End the task; what it was writing is finished first."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def turn(self) -> None:
        """Everything there is to do, once, in bounded steps."""
        try:
            self.check_room()
        except OSError as error:  # the disk did not say: what was known of it stands
            observe.event("disk_room_unknown", error=type(error).__name__)
        if self._store.shared:
            await self._attend()
        for _ in range(LOOKS_A_TURN):
            if self._stopping.is_set() or not await self.look():
                break

    async def _beat(self) -> None:
        """Show that this process lives, whatever else takes its time; take over from those that do not."""
        for channel in await self._store.attend():
            self._worker.broker.ring(channel)

    async def _attend(self) -> None:
        """Among other processes: follow what they decided, take lanes that nobody owns, release idle ones."""
        await self._beat()
        await self._follow()
        await self._worker.sharing.release_lost()
        for channel in {name for name, _ in self._worker.outlets}:
            await self._worker.sharing.take(channel)

    def check_room(self) -> None:
        """Say whether the disk has room; below the reserve nothing is accepted."""
        room = shutil.disk_usage(self._folder).free >= self._reserve
        if room is not self._worker.ports.room:
            self._worker.ports.room = room
            observe.event("disk_room_returned" if room else "disk_nearly_full")

    async def look(self) -> bool:
        """Walk by the next open deliveries; True when there was something to do among them."""
        seen = await self._store.read(lambda c: backlog.look(c, self._cursor, ROWS_A_LOOK))
        self._cursor = seen[-1].cursor if len(seen) == ROWS_A_LOOK else backlog.BEGINNING
        now = self._store.now()
        too_old = [sight.id for sight in seen if self._is_too_old(sight, now)]
        forgotten = [sight for sight in seen if self._is_forgotten(sight, now)]
        orphans = self._orphans(seen)
        for sight in forgotten:
            self._worker.remind(sight.channel, sight.destination, sight.lane, sight.seq)
        if too_old:
            await self._give_up(too_old)
        if orphans and await self._is_live():
            await self._store.act(partial(acts.hold, numbers=orphans, reason=REMOVED))
        return bool(too_old or forgotten or orphans)

    async def _is_live(self) -> bool:
        """Only the live revisions say what destinations a channel has: another process may serve a newer one."""
        if not self._store.shared:
            return True
        live = await self._store.read(standing.live_revisions)
        channels = {name: outlet.running.channel for (name, _), outlet in self._worker.outlets.items()}
        return all(live.get(name, channel.revision) == channel.revision for name, channel in channels.items())

    async def _give_up(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers), 500):
            chunk = numbers[start : start + 500]
            dead: list[Delivery] = await self._store.act(partial(acts.let_die, numbers=chunk, reason="gave_up"))
            for delivery in dead:
                self._worker.put_aside(delivery)

    def _orphans(self, seen: list[Sight]) -> list[int]:
        """What a message that was being kept left for a destination that its channel lost meanwhile."""
        outlets = self._worker.outlets
        channels: dict[str, Channel] = {name: outlet.running.channel for (name, _), outlet in outlets.items()}
        return [
            sight.id
            for sight in seen
            if _flows(sight)
            and (sight.channel, sight.destination) not in outlets
            and sight.channel in channels
            and channels[sight.channel].destination(sight.destination) is None
        ]

    def _is_forgotten(self, sight: Sight, now: int) -> bool:
        """Due, and in a lane that the worker does not have in memory although its destination is at work.

        Where several processes share the store the lanes themselves say what is due.
        """
        if self._store.shared:
            return False
        outlet = self._worker.outlets.get((sight.channel, sight.destination))
        return outlet is not None and _flows(sight) and sight.next_at <= now and sight.lane not in outlet.owned.lanes

    def _is_too_old(self, sight: Sight, now: int) -> bool:
        """Older than `give_up` behind an open breaker: no attempt will come to say so."""
        outlet = self._worker.outlets.get((sight.channel, sight.destination))
        if outlet is None or not outlet.breaker.open or not _flows(sight):
            return False
        return sight.message < earliest(now - outlet.spec.retry.give_up)

    async def _run(self, turn: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await turn()
            except InterlockError as error:
                observe.failed("sweep_failed", error)
            except Exception as error:  # a safety net must not end with what it is there for
                observe.event("sweep_failed", error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TURN_SECONDS)


def _flows(sight: Sight) -> bool:
    return sight.state in (DeliveryState.QUEUED, DeliveryState.IN_DOUBT)
