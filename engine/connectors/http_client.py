"""A small keep-alive HTTP/1.1 client for destinations: so many links to one target, each for one request at a time.

A request that was written is never repeated here: what happened to it is the answer, `NotSent` or `InDoubt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from engine.connectors.addresses import AddressRefused, refused, resolve
from engine.connectors.http_link import SECOND, Limits, Link, NotSent, Reply
from engine.connectors.http_target import Target
from engine.errors import Configuration


@dataclass(frozen=True, slots=True)
class Trust:
    """TLS to the target: the context, the name in its certificate, and whether a connected peer is one we mean."""

    context: ssl.SSLContext
    server_name: str
    pinned: Callable[[asyncio.BaseTransport], bool]


class Client:
    """Keep-alive connections to one target, at most `limits.connections` of them."""

    def __init__(self, target: Target, limits: Limits, trust: Trust | None, where: str) -> None:
        with contextlib.suppress(ValueError):  # a name, judged when it has been resolved
            if refused(target.host) and not limits.link_local:
                advice = "Name another address, or set `link_local = true` if an interface really lives there."
                raise Configuration("reading `to`: the engine does not dial this address", where=where, advice=advice)
        self._target = target
        self._limits = limits
        self._trust = trust
        self._slots = asyncio.Semaphore(limits.connections)
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._closed = False

    async def exchange(self, request: bytes) -> Reply:
        """Send one request, head and body, and give its answer.

        Raises:
            NotSent: nothing left.
            InDoubt: it left, and no whole answer came.
        """
        async with self._slots:
            connection = self._reusable() or await self._connect()
            self._busy.add(connection)
            try:
                return await connection.send(request)
            finally:
                self._busy.discard(connection)
                self._release(connection)

    async def reach(self) -> None:
        """Connect without sending. Raises `NotSent`."""
        async with self._slots:
            self._release(self._reusable() or await self._connect())

    def close(self) -> None:
        """Close every connection; what is outstanding is in doubt. Safe to call twice."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _reusable(self) -> Link | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable() and connection.quiet():
                return connection
            connection.close()
        return None

    def _release(self, connection: Link) -> None:
        if connection.usable() and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> Link:
        if self._closed:
            raise NotSent("closed", "the destination is closed")
        try:
            async with asyncio.timeout(self._limits.connect / SECOND):
                return await self._dial(
                    await resolve(self._target.host, self._target.port, link_local=self._limits.link_local)
                )
        except OSError as error:
            raise _not_sent(error) from None

    async def _dial(self, addresses: list[str]) -> Link:
        """The first address that answers; the last one's error when none does."""
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._open(address)
        return await self._open(addresses[-1])

    async def _open(self, address: str) -> Link:
        trust = self._trust
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: Link(self._limits),
            address,
            self._target.port,
            ssl=trust.context if trust else None,
            server_hostname=trust.server_name if trust else None,
        )
        if trust and not trust.pinned(transport):
            connection.close()
            raise ssl.SSLCertVerificationError("the peer is not the pinned one")
        return connection


def _not_sent(error: OSError) -> NotSent:
    """What kept us from connecting, in words an operator can act on."""
    if isinstance(error, AddressRefused):
        return NotSent("address_refused", "the name leads to an address the engine does not dial; see `link_local`")
    if isinstance(error, TimeoutError):
        return NotSent("connect_timeout", "no connection within `connect_within`; check the address and the firewall")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(
            "tls_untrusted",
            "the server's certificate is not trusted for this name; check `ca`, `pin` and `server_name`",
        )
    if isinstance(error, ssl.SSLError):
        return NotSent("tls_failed", "no TLS connection; check certificates and versions on both sides")
    if isinstance(error, socket.gaierror):
        return NotSent("name_unknown", "the host name cannot be resolved; check `to` and the resolver")
    if isinstance(error, ConnectionRefusedError):
        return NotSent("connection_refused", "nothing listens there; check the port and whether the system is up")
    return NotSent("connect_failed", "no connection; check the network and whether the system is up")
