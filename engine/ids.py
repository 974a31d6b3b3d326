"""Ids that are unique on a site and sort by time, made without asking anybody.

Invariant: an id is larger than every id made before it by the same writer, also when the clock goes back and after a
restart (the store tells the largest id it holds).

Layout of the 63 bits: milliseconds since 2020-01-01 (41), writer (6), counter (16).
"""

from __future__ import annotations

from engine.model import MICROSECONDS
from engine.ports import Clock

EPOCH_SECONDS = 1_577_836_800
COUNTER_BITS = 16
TIME_SHIFT = 22


class Ids:
    """The id generator of one writer."""

    __slots__ = ("_clock", "_last", "_writer")

    def __init__(self, clock: Clock, writer: int = 0, after: int = 0) -> None:
        self._clock = clock
        self._writer = writer << COUNTER_BITS
        self._last = after

    def become(self, writer: int, after: int) -> None:
        """Go on as another writer, with ids above `after`, whoever made that one."""
        self._writer = writer << COUNTER_BITS
        self._last = after >> TIME_SHIFT << TIME_SHIFT | self._writer | 0xFFFF

    def next(self) -> int:
        """A new id."""
        candidate = _floor(self._clock.now()) | self._writer
        if candidate <= self._last:
            candidate = self._last + 1
            if candidate & 0xFFFF == 0:  # the counter of this millisecond is used up: go on in the next one
                candidate = ((candidate >> TIME_SHIFT) + 1) << TIME_SHIFT | self._writer
        self._last = candidate
        return candidate


def time_of(number: int) -> int:
    """When an id was made: microseconds since 1970, to the millisecond."""
    return ((number >> TIME_SHIFT) * 1000) + EPOCH_SECONDS * MICROSECONDS


def earliest(at: int) -> int:
    """The smallest id a message received at or after `at` can have: a search by time is a range of ids."""
    return max(0, _floor(at))


def _floor(at: int) -> int:
    return ((at // 1000) - EPOCH_SECONDS * 1000) << TIME_SHIFT
