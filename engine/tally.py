"""What the store adds up to right now, for pages, probes and lists that ask often.

Invariant: asking often costs little: a count is taken on a connection of its own, one at a time, and stands for as long
as it would not take more than a twentieth of a processor to repeat it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.balance import Balance, quick_balance
from engine.ids import time_of
from engine.store.committing import CommittingStore

PAUSE_FACTOR = 20
"""A count that took so long is taken again at the earliest after so many times as long."""

OLDEST = "SELECT channel, destination, min(id) FROM delivery WHERE open > 0 GROUP BY channel, destination"


@dataclass(frozen=True, slots=True)
class Counted:
    """One count: the balance, and when the oldest delivery that has not ended was accepted, by destination."""

    balance: Balance
    oldest: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Tally:
    """Counts a store's rows, for whoever asks, no more often than it is worth."""

    def __init__(self, store: CommittingStore) -> None:
        self._store = store
        self._counting = asyncio.Lock()
        self._latest: Counted | None = None
        self._stands_until = 0.0

    async def counted(self) -> Counted:
        """The latest count, or a new one."""
        async with self._counting:
            if self._latest is None or time.monotonic() >= self._stands_until:
                begun = time.monotonic()
                self._latest = await asyncio.to_thread(self._count)
                ended = time.monotonic()
                self._stands_until = ended + (ended - begun) * PAUSE_FACTOR
            return self._latest

    async def channels(self, report: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A runtime's report with the `counts` of each channel and destination beside what they do."""
        balance = (await self.counted()).balance
        of_channel = {c.channel: {"received": c.received, **_plain(c.states)} for c in balance.channels}
        of_destination = {
            (d.channel, d.destination): {"accepted": d.accepted, **_plain(d.states)} for d in balance.destinations
        }
        return [
            {
                **channel,
                "counts": of_channel.get(channel["name"], {}),
                "destinations": [
                    {**to, "counts": of_destination.get((channel["name"], to["name"]), {})}
                    for to in channel["destinations"]
                ],
            }
            for channel in report
        ]

    def _count(self) -> Counted:
        with self._store.counting() as connection, connection.snapshot():
            rows = connection.execute(OLDEST).fetchall()
            return Counted(quick_balance(connection), {(c, d): time_of(number) for c, d, number in rows})


def _plain(states: Mapping[Any, int]) -> dict[str, int]:
    return {state.value: count for state, count in states.items()}
