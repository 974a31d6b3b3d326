"""What the contract suite of connectors asks of each of them: how to make one, and how to play its other side.

To add a connector, write `harness_NAME.py` beside this file. It exports two tuples of classes, either may be empty:

    SOURCES = (SftpSource,)              # subclasses of SourceHarness
    DESTINATIONS = (SftpDestination,)    # subclasses of DestinationHarness

Nothing else is needed: `test_connectors.py` finds the module by its name and runs every test over every class. A
harness is made anew for each test with the test's own folder; `close` is called at the end, whatever happened. A test
that a connector cannot run by its nature (a folder is never silent) is switched off by the class attributes below,
nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from engine.errors import Reply, Weight
from engine.model import Verdict
from engine.ports import Destination, Sending, Source


def message(number: int, size: int = 0) -> bytes:
    """A synthetic HL7 v2 result with its own control id, padded to at least `size` bytes."""
    head = (
        f"MSH|^~\\&|LAB|NORTH|EHR|SOUTH|20240101120000||ORU^R01^ORU_R01|C{number}|T|2.5.1\r"
        f"PID|1||{number}^^^INTERLOCK-TEST^MR||Invented^Person\r"
        "OBR|1||F1|24323-8^Panel^LN\r"
        "OBX|1|TX|note^Note^L||"
    ).encode()
    return head + b"x" * max(1, size - len(head) - 1) + b"\r"


def control_id(raw: bytes) -> bytes:
    """MSH-10 of a message made here."""
    return raw.split(b"|", 10)[9]


def answer_bytes(raw: bytes, verdict: Verdict) -> bytes:
    """A minimal acknowledgement of `raw` that says `verdict`."""
    code = {Reply.ACCEPT: b"AA", Reply.ERROR: b"AE", Reply.REJECT: b"AR"}[verdict.reply]
    head = b"MSH|^~\\&|EHR|SOUTH|LAB|NORTH|20240101120000||ACK|A1|T|2.5.1\rMSA|"
    return head + code + b"|" + control_id(raw) + b"\r"


def sending(attempt: int = 1) -> Sending:
    """What the path says of a delivery; every call another delivery id."""
    return Sending(
        message="0000000000001",
        delivery=f"{attempt:013d}",
        attempt=attempt,
        channel="contract",
        destination="d",
        content_type="x-application/hl7-v2+er7",
    )


class Sender:
    """One outside party that gives messages to a source: a connection, a client, a hand that drops files."""

    async def send(self, raw: bytes, patience: float = 10.0) -> Reply | None:
        """Give one message and wait for what the sender learns of it.

        Returns None when it learns nothing within `patience` seconds, is refused a connection or is cut off. Never
        raises for these.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the connection."""


class SourceHarness:
    """Makes one source and its senders."""

    name: ClassVar[str]
    tells_error_from_reject: ClassVar[bool] = True
    """False when a sender sees only yes or no (a file in the error folder): any negative Reply then passes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def make(self, max_size: int, grace: str) -> Source:
        """A source that is not started, with this size limit in bytes and this option `grace` for stop()."""
        raise NotImplementedError

    async def sender(self) -> Sender:
        """One more sender, connected (where that means something) to the source that was made and started."""
        raise NotImplementedError

    async def close(self) -> None:
        """Release what the harness itself opened. The suite has stopped the source."""


class DestinationHarness:
    """Makes one destination and plays the system it delivers to."""

    name: ClassVar[str]
    answers: ClassVar[Mapping[str, Weight]] = {}
    """Every refusal or fault the other side can show, by a name of the harness, and the class it must get."""
    can_be_silent: ClassVar[bool] = True
    """False when the other side cannot keep silent (a local folder)."""
    parallel: ClassVar[bool] = True
    """False when the other side never has a delivery before it that it has not answered yet (a local folder)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: list[bytes] = []
        """Every payload that reached the other side whole, in order of arrival."""

    @property
    def outstanding(self) -> int:
        """How many deliveries the other side has before it now and has not answered. Only where `parallel`."""
        raise NotImplementedError

    async def make(self, connections: int, timeout: int) -> Destination:
        """A destination with so many connections and this time-out in microseconds; the other side is down."""
        raise NotImplementedError

    async def up(self) -> None:
        """Start the other side, or start it again at the same address; it takes everything."""
        raise NotImplementedError

    async def down(self) -> None:
        """Stop the other side and cut every connection to it. Safe to call when it is down."""
        raise NotImplementedError

    def show(self, *behaviours: str) -> None:
        """Show these in turn for the next deliveries: "take", "silent", "wait" or a key of `answers`; then take again.

        "silent" keeps the connection and never answers; "wait" answers positively after `release` was called.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Let every delivery that is shown "wait" be answered now."""
        raise NotImplementedError

    async def close(self) -> None:
        """Release what the harness itself opened."""
        await self.down()
