"""The sending side of MLLP: at most `connections` kept connections, one message outstanding on each.

An answer can never be taken for another message's: a connection on which anything was late, doubled, unreadable or for
another control id is closed, and one on which bytes wait before anything was sent is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from urllib.parse import urlsplit

from engine.connectors.addresses import AddressRefused, resolve
from engine.connectors.framing import framable
from engine.connectors.mllp_link import Link, in_doubt
from engine.connectors.tls import CLIENT_TLS_KNOBS, client_context, read_pins
from engine.errors import Configuration, Weight
from engine.formats.hl7v2_ack import judge
from engine.knobs import Knob, read_options
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec

DESTINATION_KNOBS = (
    Knob("connect_within", "duration", "5s", "how long to wait for a connection"),
    Knob("keep_idle", "duration", "5m", "how long an idle connection is kept; 0s is for ever"),
    Knob("answer_size", "size", "1MiB", "largest answer that is read"),
    Knob("link_local", "flag", False, "dial link-local, multicast and metadata addresses too"),
    *CLIENT_TLS_KNOBS,
)

_SECOND = 1_000_000
_HEADER_WITHIN = 4096  # bytes: a byte order mark or a batch header may come first


class MllpDestination:
    """Delivers to mllp://host:port or mllps://host:port."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        url = urlsplit(spec.to)
        where = f"{channel}: destination {spec.name}"
        if not url.hostname or not url.port:
            raise Configuration(
                "reading `to`: it names no host and port", where=where, advice='Write "mllp://ehr.example:2575".'
            )
        options = read_options(spec.options, DESTINATION_KNOBS, where)
        self._host, self._port = url.hostname, url.port
        self._tls = client_context(options, where) if url.scheme == "mllps" else None
        self._server_name = (options["server_name"] or url.hostname) if self._tls else None
        self._pinned = read_pins(options["pin"], where)
        self._link_local: bool = options["link_local"]
        self._connect_seconds: float = options["connect_within"] / _SECOND
        self._idle_seconds: float = options["keep_idle"] / _SECOND
        self._answer_seconds: float = spec.timeout / _SECOND
        self._answer_bytes: int = options["answer_size"]
        self._to_application = spec.delivered_at == "application"
        self._slots = asyncio.Semaphore(spec.connections)
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._closed = False

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One attempt over a connection that has nothing else outstanding."""
        if not framable(payload):
            return Outcome("unframable", Weight.PERMANENT, detail="the message holds the bytes that end an MLLP frame")
        if payload.find(b"MSH", 0, _HEADER_WITHIN) < 0:
            return Outcome(
                "no_header", Weight.PERMANENT, detail="without MSH-10 no answer could be told from another's"
            )
        async with self._slots:
            link = self._reusable() or await self._connect()
            if isinstance(link, Outcome):
                return link
            if not link.clean:
                link.close()
                return _unreachable("connection_lost", "the peer closed, or spoke first; is this an MLLP port?")
            self._busy.add(link)
            try:
                outcome = await self._exchange(link, payload)
            except BaseException:
                link.close()  # its answer would meet the next message
                raise
            finally:
                self._busy.discard(link)
            self._give_back(link, outcome)
            return outcome

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """MLLP has no such question: None."""
        return None

    async def test(self) -> str:
        """Connect without sending: "" when it works, else what is wrong and what to do."""
        link = await self._connect()
        if isinstance(link, Outcome):
            return f"{link.code}: {link.detail}"
        link.close()
        return ""

    async def close(self) -> None:
        """Close every connection; a message that is outstanding is in doubt."""
        self._closed = True
        for link in (*self._idle, *self._busy):
            link.close()
        self._idle.clear()

    async def _exchange(self, link: Link, payload: bytes) -> Outcome:
        """Send and judge; where the application's answer is wanted, a commit answer is only the first of two."""
        link.send(payload, self._answer_seconds)
        outcome = _judged(payload, await link.answer())
        if self._to_application and outcome.taken and outcome.level == "commit":
            outcome = _judged(payload, await link.answer())
            if outcome.taken and outcome.level == "commit":
                return in_doubt("answer_doubled", "two commit answers came and no application answer")
        if outcome.taken and not all(judge(payload, other).taken for other in link.unasked()):
            return in_doubt("answers_contradict", "a positive answer came with another that is not")
        return outcome

    def _reusable(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.quiet():
                return link
            link.close()
        return None

    def _give_back(self, link: Link, outcome: Outcome) -> None:
        if self._closed or outcome.weight is Weight.AMBIGUOUS or not link.clean:
            link.close()
        else:
            link.rest(self._idle_seconds)
            self._idle.append(link)

    async def _connect(self) -> Link | Outcome:
        if self._closed:
            return _unreachable("closed", "the destination is closed")
        try:
            async with asyncio.timeout(self._connect_seconds):
                addresses = await resolve(self._host, self._port, link_local=self._link_local)
                return await self._dial(addresses)
        except OSError as error:
            return _not_connected(error)

    async def _dial(self, addresses: list[str]) -> Link:
        """The first address that answers; the last one's error when none does."""
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self._open(address)
        return await self._open(addresses[-1])

    async def _open(self, address: str) -> Link:
        loop = asyncio.get_running_loop()
        transport, link = await loop.create_connection(
            lambda: Link(loop, self._answer_bytes, self._answer_seconds),
            address,
            self._port,
            ssl=self._tls,
            server_hostname=self._server_name,
        )
        if self._tls and not self._pinned(transport):
            link.close()
            raise ssl.SSLCertVerificationError("the peer is not the pinned one")
        return link


def _judged(payload: bytes, answer: bytes | Outcome) -> Outcome:
    return answer if isinstance(answer, Outcome) else judge(payload, answer)


def _unreachable(code: str, detail: str) -> Outcome:
    return Outcome(code, Weight.TRANSIENT, detail=detail, unreachable=True)


def _not_connected(error: OSError) -> Outcome:
    """Why there is no connection, in the words of what a person can do."""
    if isinstance(error, AddressRefused):
        return _unreachable(
            "address_refused", "the name leads to an address the engine does not dial; see `link_local`"
        )
    if isinstance(error, TimeoutError):
        return _unreachable("connect_timeout", "no connection within `connect_within`; check address and firewall")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unreachable(
            "tls_untrusted", "the server's certificate is not trusted; check `ca`, `pin`, `server_name`"
        )
    if isinstance(error, ssl.SSLError):
        return _unreachable("tls_failed", "no TLS connection; check certificates and versions on both sides")
    if isinstance(error, ConnectionRefusedError):
        return _unreachable("connection_refused", "nothing listens there; check the port and whether the system is up")
    return _unreachable("connect_failed", "no connection; check the name, the network and whether the system is up")
