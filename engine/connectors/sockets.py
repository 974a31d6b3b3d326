"""What every connector over TCP sets on its sockets, and a deadline that costs an assignment to move."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import Callable

ports_are_shared = False
"""Several processes of a site may listen at one address; the kernel spreads new connections over them."""

_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


def tune(transport: asyncio.Transport, user_timeout: float) -> None:
    """Send at once, probe an idle peer, and give up unacknowledged bytes after `user_timeout` seconds.

    Without TLS a write leaves within the call: uvloop would otherwise gather writes until the loop's turn ends, and
    asyncio's TLS takes a limit of 0 for a buffer that is always full.
    """
    if transport.get_extra_info("ssl_object") is None:
        transport.set_write_buffer_limits(high=0)
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # a peer that is gone already, a transport that is not TCP
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", max(1, round(user_timeout * 1000)))):
            if hasattr(socket, name):  # not every system has them all
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def share_ports() -> None:
    """From now on, listen where other processes of the site do, too."""
    global ports_are_shared
    ports_are_shared = hasattr(socket, "SO_REUSEPORT")


def send_now(transport: asyncio.Transport, data: bytes) -> None:
    """Put bytes on the wire past the transport: for failpoints that must leave half of a write behind."""
    os.write(transport.get_extra_info("socket").fileno(), data)


class Deadline:
    """One moment at which `expired` is called. The timer behind it is only moved when it would come too late."""

    __slots__ = ("_at", "_expired", "_loop", "_timer", "_wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = math.inf
        self._wakes = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Expire so many seconds from now, unless set or cleared again; 0 is never."""
        self._at = self._loop.time() + seconds if seconds else math.inf
        if self._at < self._wakes:
            self._wake_at(self._at)

    def clear(self) -> None:
        """Do not expire, until set again."""
        self._at = math.inf

    def close(self) -> None:
        """Do not expire any more and release the timer."""
        self._at = math.inf
        self._wakes = -math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = at
        self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer, self._wakes = None, math.inf
        if self._loop.time() >= self._at:
            self._at = math.inf
            self._expired()
        elif self._at < math.inf:
            self._wake_at(self._at)
