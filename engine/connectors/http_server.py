"""A small HTTP/1.1 server for one address: so many connections in all, and so many from one peer.

It stops gracefully: what is whole is answered, then everything is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable

from engine.connectors import sockets
from engine.connectors.http_connection import LINGER_SECONDS, Bounds, Connection, Gate, Handle, Refuse

_HANDSHAKE_SECONDS = 10.0  # a connection is counted only after its TLS handshake


class Server:
    """The listener and its connections."""

    def __init__(self, gate: Gate, handle: Handle, refuse: Refuse, bounds: Bounds) -> None:
        self.gate = gate
        self.handle = handle
        self.refuse = refuse
        self.bounds = bounds
        self.pinned: Callable[[asyncio.BaseTransport], bool] = lambda transport: True
        self.stopping = False
        self._open: set[Connection] = set()
        self._each: Counter[str] = Counter()
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen; gives the real port. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=LINGER_SECONDS if tls else None,
            backlog=256,
            reuse_port=sockets.ports_are_shared and bool(port),
        )
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self, grace: float) -> None:
        """Take no more, answer within `grace` seconds what is whole, then close everything."""
        self.stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._open):
            connection.close_when_answered()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for connection in tuple(self._open):
            connection.abort()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener.wait_closed()

    def enter(self, connection: Connection, peer: str) -> bool:
        """Count a connection in; False when there are too many."""
        if len(self._open) >= self.bounds.connections or self._each[peer] >= self.bounds.connections_each:
            return False
        self._open.add(connection)
        self._each[peer] += 1
        return not self.stopping

    def leave(self, connection: Connection, peer: str) -> None:
        """Count a connection out."""
        if connection in self._open:
            self._open.discard(connection)
            self._each[peer] -= 1
            if not self._each[peer]:
                del self._each[peer]
