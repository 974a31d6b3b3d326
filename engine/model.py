"""The words of the path as values: frozen, without behaviour beyond reading themselves.

Nothing here knows a store, a wire or a clock; every step takes and gives these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from engine.errors import Reply, Weight
from engine.values import value

MICROSECONDS = 1_000_000
"""Times are whole microseconds since 1970 in UTC, durations whole microseconds, unless a name says otherwise."""

NO_FACTS: Mapping[str, tuple[str, ...]] = {}


class MessageState(StrEnum):
    """Where a message stands; per channel `received` is the sum over these."""

    REFUSED = "refused"  # answered negatively, not kept
    DUPLICATE = "duplicate"  # the same content again: the stored answer was repeated
    FILTERED = "filtered"  # accepted, and no destination wanted it
    HELD = "held"  # stored, waits for a person before routing
    ENDED = "ended"  # closed by a person with a reason
    ACCEPTED = "accepted"  # stored, answered positively, routed


class DeliveryState(StrEnum):
    """Where a delivery stands; per destination `accepted` is the sum over these."""

    FILTERED = "filtered"  # the destination's `when` did not want it
    QUEUED = "queued"  # waits for its lane, or for its next attempt
    CLAIMED = "claimed"  # output sealed, bytes may be leaving
    IN_DOUBT = "in doubt"  # bytes may have arrived; nobody knows
    HELD = "held"  # waits for a person; keeps its place in the lane
    DEAD = "dead"  # will not be tried again by itself
    ENDED = "ended"  # closed by a person with a reason
    DELIVERED = "delivered"  # the destination took it at the level it declares


FINAL_DELIVERY_STATES = frozenset({DeliveryState.FILTERED, DeliveryState.ENDED, DeliveryState.DELIVERED})


@value
class Identifier:
    """One identifier of a patient or an order: value, assigning authority, type (HL7 table 0203)."""

    value: str
    authority: str = ""
    type: str = ""


@value
class Identity:
    """What a message says of itself, read in microseconds without parsing all of it.

    `facts` are what `when` predicates and searches may ask: a closed list, documented in docs/channels.md;
    each fact is a tuple of the values present. They may hold PHI: never log them.
    """

    format: str
    type: str
    control_id: str
    sender: tuple[str, str]
    receiver: tuple[str, str]
    sent_at: str = ""
    version: str = ""
    processing: str = ""  # MSH-11.1: P, T or D
    patients: tuple[Identifier, ...] = ()
    prior_patients: tuple[Identifier, ...] = ()  # MRG-1 of A34, A40, A45: the identity that ends
    orders: tuple[Identifier, ...] = ()  # filler numbers first, then placer numbers
    charset: str = ""
    barrier: bool = False  # A34, A40, A45: ordered against both patients' lanes
    accept_ack: str = ""  # MSH-15
    application_ack: str = ""  # MSH-16
    restates: bool = False  # says how things stand: without a control id the same content again is no duplicate
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_FACTS)


@value
class Arrival:
    """How bytes came in: channel, when, and from whom the connector knows."""

    channel: str
    at: int
    peer: str = ""
    note: str = ""  # what the connector saw and the message cannot say, e.g. "junk before frame"


@value
class Verdict:
    """What the path decided of a message, before it is put into the words of its format."""

    reply: Reply
    code: str = "accepted"
    text: str = ""
    where: str = ""
    transient: bool = False
    message: int = 0  # 0 where nothing was kept
    at: int = 0


@value
class Answer:
    """What goes back over the wire. `payload` is None where the sender asked for no answer (MSH-15 NE, MSH-16 NE)."""

    verdict: Verdict
    payload: bytes | None = None

    @property
    def positive(self) -> bool:
        """True when the sender may forget the message."""
        return self.verdict.reply is Reply.ACCEPT


@value
class Outcome:
    """What a destination did with one attempt.

    `level` is how far a positive answer reaches: "commit" (it is stored there) or "application" (it was processed).
    `weight` is None when it was taken. `unreachable` marks a failure in which no byte left: it spends no attempt.
    """

    code: str
    weight: Weight | None = None
    level: str = "commit"
    answer: bytes = b""
    detail: str = ""  # PHI-free
    unreachable: bool = False
    retry_after: int = 0  # microseconds the destination asked us to wait

    @property
    def taken(self) -> bool:
        """True when the destination answered positively."""
        return self.weight is None


@value
class Finding:
    """Something a conversion saw that a person should know: coded and located, never a value except `subject`.

    `subject` names what the item is about (a local code, a unit); it is sealed where it is kept.
    """

    code: str  # e.g. "unmapped", "unit_unknown", "status_unknown"
    where: str = ""
    text: str = ""
    subject: str = ""
    table: str = ""


@value
class Converted:
    """The output of a conversion: bytes to send, their content type, findings, and the table revisions used."""

    payload: bytes
    content_type: str = "application/octet-stream"
    findings: tuple[Finding, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)


@value
class Mapped:
    """A table had an entry. `revision` names the table's content."""

    code: str
    display: str
    system: str
    revision: str
    extra: Mapping[str, str] = field(default_factory=dict)


@value
class Unmapped:
    """A table had no entry."""

    revision: str


@value
class Route:
    """One destination of one message, fixed at acceptance: where, in which lane, and by which rule.

    `lane` and `barrier` are order keys in clear ("" shares one lane of the destination); the store keeps keyed hashes.
    """

    destination: str
    state: DeliveryState  # QUEUED or FILTERED
    rule: str
    lane: str = ""
    barrier: str = ""  # the second lane of a merge: A34, A40, A45
    order: str = ""  # order number, for what a held delivery of class result may block


@value
class Receipt:
    """All that one commit keeps of a received message. `raw` is empty where only the fact is kept (refused)."""

    id: int
    channel: str
    organization: str
    at: int
    raw: bytes
    size: int
    state: MessageState
    verdict: Verdict
    identity: Identity | None = None
    canonical: bytes = b""
    routes: tuple[Route, ...] = ()
    revision: str = ""
    window: int = 0  # microseconds in which the same content is a duplicate; 0: not judged
    strict: bool = False  # control_id = "strict": other content under a used id is refused
    original: int = 0  # the message this one replays


@dataclass(slots=True)
class Delivery:
    """One message on its way to one destination, in its lane. `raw` is None when memory was short: read it again."""

    id: int
    message: int
    organization: str
    channel: str
    destination: str
    lane: bytes
    seq: int  # its delivery number: gapless in its destination, rising in its lanes
    order_key: bytes
    barrier: bytes = b""  # the second lane of a merge
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0  # spent against the retry limit
    tries: int = 0  # all there were, the unreachable ones too
    attempt: int = 0  # id of the latest
    next_at: int = 0
    raw: bytes | None = None
    #: The turn in which this process owns the lane; 0: it does not, and must not carry it.
    turn: int = field(default=1, compare=False)

    @property
    def lanes(self) -> tuple[bytes, ...]:
        """The lane it waits in; of a merge, both."""
        return (self.lane, self.barrier) if self.barrier else (self.lane,)


@value
class Kept:
    """What the commit decided: the answer to give, and the deliveries to wake."""

    verdict: Verdict
    state: MessageState
    deliveries: tuple[Delivery, ...] = ()


@value
class Attempt:
    """A claim: sealed before the first byte leaves, so that a resend in doubt sends the same bytes."""

    id: int
    delivery: Delivery
    number: int
    at: int
    output: bytes
    content_type: str
    revision: str  # of the channel
    tables: str = ""  # "name@revision name@revision"
    findings: tuple[Finding, ...] = ()
    repeats: int = 0  # the earlier attempt whose stored output this one sends again


@value
class Settlement:
    """What became of an attempt, decided by `settle` alone."""

    state: DeliveryState
    reason: str
    outcome: Outcome
    at: int
    attempts: int  # attempts spent so far
    next_at: int = 0


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def show_id(number: int) -> str:
    """Write an id as people read it: 13 characters, time-ordered, no i, l, o or u (Crockford's base 32)."""
    pairs = _PAIRS
    return (
        _ALPHABET[number >> 60]
        + pairs[(number >> 50) & 1023]
        + pairs[(number >> 40) & 1023]
        + pairs[(number >> 30) & 1023]
        + pairs[(number >> 20) & 1023]
        + pairs[(number >> 10) & 1023]
        + pairs[number & 1023]
    )


def read_id(text: str) -> int:
    """Read what `show_id` wrote.

    Raises:
        ValueError: when it is not such an id.
    """
    text = text.strip().lower().translate(str.maketrans("ilo", "110"))
    if len(text) != 13 or any(c not in _ALPHABET for c in text):
        raise ValueError("an id has 13 characters, digits and lower-case letters")
    number = 0
    for character in text:
        number = number << 5 | _ALPHABET.index(character)
    if number >= 1 << 63:
        raise ValueError("an id has 13 characters, the first of them 0 to 7")
    return number
