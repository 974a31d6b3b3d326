"""What the engine asks of its parts: all that the author of a format, connector, conversion or store reads.

Every port is a Protocol: nothing has to inherit from anything here. Each has one contract suite in tests/contract
that every implementation passes.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from engine.model import (
    Answer,
    Arrival,
    Attempt,
    Converted,
    Delivery,
    DeliveryState,
    Finding,
    Identity,
    Kept,
    Mapped,
    Outcome,
    Receipt,
    Settlement,
    Unmapped,
    Verdict,
)
from engine.values import value
from engine.wiring import Channel, DestinationSpec, MapRule, SourceSpec

Role = Literal["all", "ingress", "worker", "web"]
"""What a process does: takes messages, carries deliveries, both, or neither and only shows."""

T = TypeVar("T")

Accept = Callable[[bytes, Arrival], Awaitable[Answer]]
"""What a source calls for each message. It never raises: a refusal, too, is an answer."""


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""


class Format(Protocol):
    """One kind of message. Reading is lossless: an untouched message is written byte for byte as it came.

    A format may have two things more: `of(spec: SourceSpec) -> Format`, itself as a channel's source wants it, and
    `effort: int`, how many times longer than HL7 v2 a message of the same size takes to read.
    """

    kind: str

    def sniff(self, raw: bytes) -> bool:
        """True when the bytes look like this format."""

    def split(self, raw: bytes) -> list[bytes]:
        """The messages in what came over a wire: one as a rule, several in a batch. Raises `Unreadable`."""
        ...

    def read(self, raw: bytes) -> Any:
        """Parse. Raises `Unreadable` with a location and no value."""

    def identify(self, raw: bytes) -> Identity:
        """Routing keys and facts in microseconds. Raises `Unreadable`."""

    def canonical(self, raw: bytes) -> bytes:
        """The bytes whose hash says whether two messages have the same content: volatile fields left out."""

    def answer(self, identity: Identity | None, raw: bytes, verdict: Verdict) -> bytes | None:
        """The answer in this format's words, the same bytes for the same verdict; None where none was asked for."""


class Source(Protocol):
    """Takes messages from the outside, one instance a channel."""

    async def start(self, accept: Accept) -> None:
        """Begin to take messages. Raises `Configuration` when it cannot (port in use, folder missing)."""

    async def stop(self) -> None:
        """Stop taking, finish what is being answered, release everything. Safe to call twice."""

    @property
    def address(self) -> str:
        """Where it listens or looks, as a URL with the real port."""


@value
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

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """Whether an earlier attempt in doubt arrived: its outcome, or None when the destination cannot say."""

    async def test(self) -> str:
        """Connect without sending: "" when it works, else what is wrong and what to do."""

    async def close(self) -> None:
        """Release everything. Safe to call twice."""


class SourceFactory(Protocol):
    """What a connector registers under its URL scheme."""

    def __call__(self, channel: str, spec: SourceSpec) -> Source:
        """The source of a channel, not yet started."""
        ...


class DestinationFactory(Protocol):
    """What a connector registers under its URL scheme."""

    def __call__(self, channel: str, spec: DestinationSpec) -> Destination:
        """The destination of a channel, not yet connected."""
        ...


class Tables(Protocol):
    """Code tables, by name."""

    def lookup(self, table: str, code: str, at: int) -> Mapped | Unmapped:
        """The entry for a local code at a time. Raises `NotFound` when there is no such table."""

    def revision(self, table: str) -> str:
        """The revision a lookup now would use."""

    def names(self) -> Sequence[str]:
        """Every table there is."""
        ...

    def reload(self) -> Sequence[str]:
        """Read the tables again; the names of those that changed. Raises `Configuration`: then nothing changes."""


@value
class Conversion:
    """What a converter is told beside the message: the channel's facts it may need, and nothing else."""

    channel: str
    destination: str = ""
    timezone: str = ""
    sender: str = ""  # the scope of identifiers whose authority is not declared
    received_at: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, str] = field(default_factory=dict)  # the channel's own, text by file name


class Converter(Protocol):
    """A pure function that `convert` names: parsed message in, bytes and findings out.

    Raises `Held` when it must not go on. Anything else it raises makes the delivery dead (`converter_failed`).
    """

    def __call__(self, parsed: Any, tables: Tables, context: Conversion) -> Converted:
        """Convert one message for one destination."""
        ...


class Broker(Protocol):
    """A doorbell between the processes of one site.

    A ring may be lost, doubled, late or out of order, and nothing is lost with it.
    """

    async def start(self, heard: Callable[[str], None]) -> None:
        """Listen: `heard(channel)` is called on the loop for each ring. Only processes that carry deliveries call it.

        Never raises because the broker is away.
        """

    def ring(self, channel: str) -> None:
        """Say that the channel has work. On the loop's thread; never blocks, never raises."""

    async def hear_answers(self, heard: Callable[[str], None]) -> None:
        """Listen for answers: `heard(message)` is called on the loop. Only processes that take messages call it.

        Never raises because the broker is away.
        """

    def answered(self, message: str) -> None:
        """Say to all who listen that the answer to this message, by its id, is in the store. As `ring`, never fails."""

    async def stop(self) -> None:
        """Stop listening and ringing. Safe to call twice."""

    def well(self) -> bool:
        """False while it cannot be reached: then wake-ups come from the sweeper only."""
        ...


class Directory(Protocol):
    """Who exists, who may send, and what has been agreed. In memory; answers in nanoseconds."""

    def production_allowed(self, organization: str) -> bool:
        """True when the organization's agreement is confirmed and active now."""

    def exists(self, organization: str) -> bool:
        """True when the organization is known."""


Predicate = Callable[[Identity], bool]
"""What a dotted `when` names: pure, over the identity's facts. One that raises holds the message."""

MapsApplied = tuple[Any, tuple[Finding, ...], Mapping[str, str]]
ApplyMaps = Callable[[Any, tuple[MapRule, ...], Tables, int], MapsApplied]
"""Applies a channel's `[[map]]` rules to a parsed message: the message, findings, and table revisions used."""


Check = Callable[[bytes], Awaitable[Sequence[Finding]]]
"""Compares a message with the standard's tables, in a process of its own and within a time limit; it only reports."""


CheckOutput = Callable[[bytes, DestinationSpec], Awaitable[None]]
"""Lets the output for a destination pass before it is claimed, or raises `Held` with what is wrong."""


class NewIds(Protocol):
    """Ids that are unique on a site and sort by time."""

    def next(self) -> int:
        """A new one."""
        ...


class Store(Protocol):
    """Where nothing acknowledged is lost from. A result is given only after the commit that covers it."""

    shared: bool
    """True when other processes work on it, too: then a lane is carried only while this one owns it."""

    @property
    def ids(self) -> NewIds:
        """Where new ids come from."""
        ...

    def now(self) -> int:
        """The clock of leases, microseconds."""

    async def keep(self, receipt: Receipt) -> Kept:
        """Keep a message, judge duplicates, number its lanes. Raises `StoreUnavailable`: nothing was kept."""

    async def claim(self, attempt: Attempt) -> bool:
        """Seal an attempt's output and take its delivery; False when it changed hands. Raises `StoreUnavailable`."""

    def settle(self, attempt: Attempt, settlement: Settlement) -> Future[bool]:
        """Record an outcome, in one commit with what is claimed in the same loop turn; False: evidence only."""

    def put_aside(
        self, delivery: Delivery, state: DeliveryState, reason: str, findings: Iterable[Finding] = ()
    ) -> Future[bool]:
        """Hold a delivery, or let it die, before a claim."""

    async def load(self, organization: str, owner: int, field: str = "raw") -> bytes:
        """A message's bytes ("raw") or an attempt's output ("output")."""

    async def open_of_lane(self, channel: str, destination: str, lane: bytes, after: int, most: int) -> list[Delivery]:
        """Open deliveries of a lane with a higher number, in order: what memory did not hold."""
        ...

    async def take(self, channel: str, most: int, holding: Collection[str]) -> list[Taken]:
        """Own lanes of a channel that are due and that nobody owns.

        What is in doubt for a destination of `holding` is held before anybody can carry it.
        """
        ...

    async def take_lane(self, channel: str, destination: str, lane: bytes, holding: Collection[str]) -> Taken | None:
        """Own this lane; None while another process does: it is due once that one releases it."""

    async def owned(self) -> set[tuple[str, str, str, bytes, int]]:
        """The lanes that this process owns: (organization, channel, destination, lane, turn)."""
        ...

    def release(
        self,
        organization: str,
        channel: str,
        destination: str,
        lane: bytes,
        turn: int,
        seen: int,
        due: int | None,
        empty: bool,
    ) -> Future[list[str]]:
        """Own a lane no longer; the channels with more to carry. `due` says from when on, None: nothing is."""
        ...

    async def act(self, run: Callable[[Any], T]) -> T:
        """Run a rare command inside the next commit, alone undone when it raises."""
        ...

    async def read(self, query: Callable[[Any], T]) -> T:
        """Run a query on a connection that only reads; it waits for no commit. Raises `StoreUnavailable`."""
        ...

    async def attend(self) -> list[str]:
        """Show that this process lives, and take over from those that do not: the channels with lanes to carry."""
        ...

    async def know(self, organization: str) -> None:
        """Make an organization's keys on its first use."""

    async def sent(self, delivery: Delivery) -> tuple[int, str, str]:
        """Of a delivery's latest attempt: the id of its stored output, its content type and its table revisions."""


@value
class Taken:
    """A lane that this process has come to own, and the first of its open deliveries, in order; `last` ends it."""

    organization: str
    channel: str
    destination: str
    lane: bytes
    turn: int
    last: int
    deliveries: tuple[Delivery, ...]
    whole: bool  # there are no more


class Lanes(Protocol):
    """The order in which deliveries go on."""

    def offer(self, delivery: Delivery) -> None:
        """Put a delivery at the end of its lane; the lane goes on when it can. Never blocks."""


class Applications(Protocol):
    """Answers that wait for a destination, on channels with answer = "application"."""

    async def verdict(self, kept: Kept, running: Running) -> Verdict:
        """What the one answering destination said, or an error when it said nothing in time."""


@dataclass(slots=True)
class Running:
    """A channel as it runs: its wiring with every name resolved, and whether it takes messages now."""

    channel: Channel
    format: Format
    converters: Mapping[str, Converter] = field(default_factory=dict)  # by destination
    predicates: Mapping[str, Predicate] = field(default_factory=dict)  # by destination
    taking: bool = True
    effort: int = 1  # how many times longer than HL7 v2 a message of the format takes to read


Convert = Callable[[bytes, Running, DestinationSpec, int], Awaitable[Converted]]
"""Converts a message for a destination, received at that time, as `transform` does, in a process of its own."""


@dataclass(slots=True)
class Ports:
    """Everything the path reaches for, handed to it once by the composition root."""

    store: Store
    directory: Directory
    tables: Tables
    apply_maps: ApplyMaps
    lanes: Lanes
    applications: Applications
    check: Check  # of a message against the standard's tables, where a channel asks for it
    room: bool = True  # False while the disk is nearly full
    convert: Convert | None = None  # None: messages are converted in this process
    check_output: CheckOutput | None = None  # of what a destination with `validate` is sent
