"""A circuit breaker: an unreachable destination is probed by one delivery at a time, not hammered by all.

Invariant: while it is open nothing but the probe goes out, and no delivery spends an attempt on it.
"""

from __future__ import annotations

from random import random

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0


class Breaker:
    """Closed: all may pass. Open: nobody, until the pause is over. Then one probe."""

    __slots__ = ("failures", "open", "probing", "since")

    def __init__(self) -> None:
        self.open = False
        self.probing = False
        self.failures = 0
        self.since = 0

    def lets_pass(self) -> bool:
        """True when a delivery may go out now; the first one after a pause is the probe."""
        return not self.open or self.probing

    def failed(self, now: int) -> float | None:
        """An attempt did not reach the destination: open, and return the pause in seconds, with jitter.

        None when it is open already: those that were under way together are one failure.
        """
        if self.open and not self.probing:
            return None
        if not self.open:
            self.since = now
        self.open, self.probing = True, False
        self.failures += 1
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures - 1, 20))
        return longest * (0.5 + random() / 2)

    def probe(self) -> None:
        """The pause is over: the next delivery may try."""
        self.probing = True

    def reached(self) -> bool:
        """An attempt reached the destination: close; True when it was open until now."""
        was_open = self.open
        self.open = self.probing = False
        self.failures = 0
        return was_open
