"""The listening side of MLLP: who may connect, how many at a time, and how all of it ends.

A new connection is refused above a limit; none that is in use is ever closed for it. A stop takes nothing more, and
waits for what is being answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from engine import observe
from engine.clock import SystemClock
from engine.connectors import sockets
from engine.connectors.mllp_connection import LINGER_SECONDS, Connection, Limits, Report
from engine.connectors.tls import SERVER_TLS_KNOBS, read_pins, server_context
from engine.errors import Configuration
from engine.knobs import Knob, read_options
from engine.ports import Accept, Clock
from engine.wiring import SourceSpec

SOURCE_KNOBS = (
    Knob("frame_within", "duration", "60s", "how long a frame may take from its first byte to its last"),
    Knob("idle", "duration", "1h", "how long a connection may be without a whole frame; 0s is for ever"),
    Knob("connections", "count", 1000, "how many connections are taken; one more is refused, none is closed for it"),
    Knob("connections_each", "count", 200, "how many of them from one address"),
    Knob("peers", "list", "", "addresses and networks that may connect, such as 10.1.0.0/16; empty is everybody"),
    Knob("start_inside", "choice", "restart", "what 0x0B inside a frame is: a new frame, or data", ("restart", "data")),
    Knob("end", "choice", "strict", "what ends a frame: 0x1C 0x0D, or 0x1C alone", ("strict", "lenient")),
    Knob("grace", "duration", "10s", "how long a stop waits for the messages being answered"),
    *SERVER_TLS_KNOBS,
)

#: How long a TLS handshake may take; until it is done no message can come.
HANDSHAKE_SECONDS = 10.0


class MllpSource:
    """Listens at mllp://host:port or mllps://host:port.

    `report` hears of junk, restarted, cut, oversize, frame_timeout, idle_timeout, peer_not_allowed, peer_not_pinned,
    too_many, too_many_from_peer, stopping and answer_lost; without one they are counted in `observe`.
    """

    def __init__(
        self, channel: str, spec: SourceSpec, report: Report | None = None, clock: Clock | None = None
    ) -> None:
        url = urlsplit(spec.listen)
        where = f"{channel}: source"
        if not url.hostname or url.port is None:
            raise Configuration(
                "reading `listen`: it names no host and port", where=where, advice='Write "mllp://0.0.0.0:2575".'
            )
        options = read_options(spec.options, SOURCE_KNOBS, where)
        self.channel = channel
        self.limits = Limits(options, spec.max_size)
        self.report = self._count if report is None else report
        self.clock = clock or SystemClock()
        self._where = where
        self._scheme, self._host, self._port = url.scheme, url.hostname, url.port
        self._tls = server_context(options, where) if url.scheme == "mllps" else None
        self._pinned = read_pins(options["pin"], where)
        self._allowed = _networks(options["peers"], where)
        self._per_peer: Counter[str] = Counter()
        self._connections: set[Connection] = set()
        self._nobody = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._stopping = False

    async def start(self, accept: Accept) -> None:
        """Listen. Raises `Configuration` when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._stopping = False
        try:
            self._server = await loop.create_server(
                lambda: Connection(self, accept, loop),
                self._host,
                self._port,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
                ssl_shutdown_timeout=LINGER_SECONDS if self._tls else None,
                backlog=512,
                reuse_address=True,
                reuse_port=sockets.ports_are_shared and bool(self._port),
            )
        except OSError as error:
            text = f"listening: {error.strerror or 'the address cannot be used'}"
            raise Configuration(text, where=self._where, advice="Choose a free port and an own address.") from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, close idle connections, let messages being answered finish within `grace`."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(self.limits.grace):
                await self._gone()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.abandon()
            await self._gone()

    @property
    def address(self) -> str:
        """The URL with the real port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}"

    def admit(self, connection: Connection, transport: asyncio.Transport, peer: str) -> str:
        """Take a new connection: "" or the name of what is against it."""
        refusal = self._refusal(transport, peer)
        if not refusal:
            self._connections.add(connection)
            self._per_peer[peer] += 1
        return refusal

    def release(self, connection: Connection, peer: str) -> None:
        """Forget a connection that is closed and has nothing left to accept. Safe to call twice."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._per_peer[peer] -= 1
        if not self._per_peer[peer]:
            del self._per_peer[peer]
        if not self._connections:
            self._nobody.set()

    def _count(self, what: str, partial: bytes) -> None:
        observe.connector_events[self.channel, what] += 1

    def _refusal(self, transport: asyncio.Transport, peer: str) -> str:
        if self._stopping:
            return "stopping"
        if self._allowed and not any(ip_address(peer) in network for network in self._allowed):
            return "peer_not_allowed"
        if not self._pinned(transport):
            return "peer_not_pinned"
        if len(self._connections) >= self.limits.connections:
            return "too_many"
        return "too_many_from_peer" if self._per_peer[peer] >= self.limits.per_peer else ""

    async def _gone(self) -> None:
        while self._connections:
            self._nobody.clear()
            await self._nobody.wait()


def _networks(texts: tuple[str, ...], where: str) -> tuple[Any, ...]:
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError:
        advice = "Write addresses and networks, such as 10.1.0.0/16, separated by commas."
        raise Configuration(
            'reading option "peers": this is no address or network', where=where, advice=advice
        ) from None
