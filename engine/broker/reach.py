"""Whether a broker can be reached, as the threads that use it find out, and one log line an outage.

Invariant: an outage begins with the first thread that fails and ends with the last one that works again.
"""

from __future__ import annotations

import threading

from engine import observe


class Reach:
    """What is known of one address. Any thread may tell it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._failing: set[str] = set()
        self._lock = threading.Lock()

    def failed(self, act: str, error: Exception) -> None:
        """An act did not work: `error` is told by its type, for its text may quote a command."""
        with self._lock:
            if not self._failing:
                observe.event("broker_unreachable", address=self._address, error=type(error).__name__)
            self._failing.add(act)

    def worked(self, act: str) -> bool:
        """An act worked; True when it is the first time after it had failed."""
        if act not in self._failing:
            return False
        with self._lock:
            self._failing.discard(act)
            if not self._failing:
                observe.event("broker_reached", address=self._address)
        return True

    def well(self) -> bool:
        """True while nothing that was tried fails."""
        return not self._failing
