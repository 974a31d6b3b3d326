"""What the engine asks of its parts: all that the author of a format, connector, conversion or store reads.

Every port is a Protocol: nothing has to inherit from anything here. Each has one contract suite in tests/contract
that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.wiring import Channel, DestinationSpec, SourceSpec
from engine.model import Answer, Arrival, Converted, Identity, Mapped, Outcome, Unmapped, Verdict

Accept = Callable[[bytes, Arrival], Awaitable[Answer]]
"""What a source calls for each message. It never raises: a refusal, too, is an answer."""


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        ...


class Format(Protocol):
    """One kind of message. Reading is lossless: an untouched message is written byte for byte as it came."""

    kind: str

    def sniff(self, raw: bytes) -> bool:
        """True when the bytes look like this format."""
        ...

    def read(self, raw: bytes) -> Any:
        """Parse. Raises `Unreadable` with a location and no value."""
        ...

    def identify(self, raw: bytes) -> Identity:
        """Routing keys and facts in microseconds. Raises `Unreadable`."""
        ...

    def canonical(self, raw: bytes) -> bytes:
        """The bytes whose hash says whether two messages have the same content: volatile fields left out."""
        ...

    def answer(self, identity: Identity | None, raw: bytes, verdict: Verdict) -> bytes | None:
        """The answer in this format's words, the same bytes for the same verdict; None where none was asked for."""
        ...


class Source(Protocol):
    """Takes messages from the outside, one instance a channel."""

    async def start(self, accept: Accept) -> None:
        """Begin to take messages. Raises `Configuration` when it cannot (port in use, folder missing)."""
        ...

    async def stop(self) -> None:
        """Stop taking, finish what is being answered, release everything. Safe to call twice."""
        ...

    @property
    def address(self) -> str:
        """Where it listens or looks, as a URL with the real port."""
        ...


@dataclass(frozen=True, slots=True)
class Sending:
    """What a destination is told with the bytes: ids for idempotency headers and file names. No PHI."""

    message: str
    delivery: str
    attempt: int
    channel: str
    destination: str
    content_type: str = "application/octet-stream"
    resend: bool = False  # the same bytes may have arrived before


class Destination(Protocol):
    """Gives messages to the outside, one instance a destination of a channel. Owns its connections."""

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One attempt. Ordinary failures are outcomes, not exceptions. Called at most `connections` at a time."""
        ...

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """Whether an earlier attempt in doubt arrived: its outcome, or None when the destination cannot say."""
        ...

    async def test(self) -> str:
        """Connect without sending: "" when it works, else what is wrong and what to do."""
        ...

    async def close(self) -> None:
        """Release everything. Safe to call twice."""
        ...


class SourceFactory(Protocol):
    """What a connector registers under its URL scheme."""

    def __call__(self, channel: str, spec: SourceSpec) -> Source: ...


class DestinationFactory(Protocol):
    """What a connector registers under its URL scheme."""

    def __call__(self, channel: str, spec: DestinationSpec) -> Destination: ...


class Tables(Protocol):
    """Code tables, by name."""

    def lookup(self, table: str, code: str, at: int) -> Mapped | Unmapped:
        """The entry for a local code at a time. Raises `NotFound` when there is no such table."""
        ...

    def revision(self, table: str) -> str:
        """The revision a lookup now would use."""
        ...

    def names(self) -> Sequence[str]:
        """Every table there is."""
        ...


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a converter is told beside the message: the channel's facts it may need, and nothing else."""

    channel: str
    destination: str = ""
    timezone: str = ""
    sender: str = ""  # the scope of identifiers whose authority is not declared
    received_at: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Converter(Protocol):
    """A pure function that `convert` names: parsed message in, bytes and findings out.

    Raises `Held` when it must not go on. Anything else it raises makes the delivery dead (`converter_failed`).
    """

    def __call__(self, parsed: Any, tables: Tables, context: Conversion) -> Converted: ...


class Broker(Protocol):
    """A doorbell: it may be lost, doubled, late or out of order, and nothing is lost with it."""

    def ring(self, channel: str) -> None:
        """Say that the channel has work."""
        ...


class Directory(Protocol):
    """Who exists, who may send, and what has been agreed. In memory; answers in nanoseconds."""

    def production_allowed(self, organization: str) -> bool:
        """True when the organization's agreement is confirmed and active now."""
        ...

    def exists(self, organization: str) -> bool:
        """True when the organization is known."""
        ...


Predicate = Callable[[Identity], bool]
ChannelLookup = Callable[[str], Channel | None]
