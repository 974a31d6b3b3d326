"""Rings inside one process, over its own loop.

Invariant: a channel waits to be heard at most once, so what waits is bounded by the number of channels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LocalBroker:
    """A doorbell for a site of one process. Before `start` there is nobody to hear it, so a ring does nothing."""

    def __init__(self) -> None:
        self._heard: Callable[[str], None] | None = None
        self._heard_answer: Callable[[str], None] | None = None
        self._waiting: set[str] = set()
        self._loop: asyncio.AbstractEventLoop

    async def start(self, heard: Callable[[str], None]) -> None:
        """Listen, on the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._heard = heard

    def ring(self, channel: str) -> None:
        """Have the channel heard in the loop's next turn."""
        if self._heard is not None and channel not in self._waiting:
            self._waiting.add(channel)
            self._loop.call_soon(self._tell, channel)

    async def hear_answers(self, heard: Callable[[str], None]) -> None:
        """Listen for answers, on the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._heard_answer = heard

    def answered(self, message: str) -> None:
        """Have the answer heard in the loop's next turn."""
        if self._heard_answer is not None:
            self._loop.call_soon(self._tell_answer, message)

    async def stop(self) -> None:
        """Hear nothing from now on."""
        self._heard = self._heard_answer = None

    def well(self) -> bool:
        """Nothing stands between a process and itself."""
        return True

    def _tell(self, channel: str) -> None:
        self._waiting.discard(channel)
        if self._heard is not None:
            self._heard(channel)

    def _tell_answer(self, message: str) -> None:
        if self._heard_answer is not None:
            self._heard_answer(message)
