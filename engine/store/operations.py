"""What the path asks a store to commit, already hashed; the writer thread seals it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.model import Attempt, Delivery, Kept, Receipt, Settlement
from engine.store.sealing import OrganizationKeys, compress_together

Future = asyncio.Future


class Payload:
    """Bytes to be sealed for one place, once: by the writer thread, or earlier where they are large."""

    __slots__ = ("_keys", "_place", "_sealed", "data")

    def __init__(self, keys: OrganizationKeys, data: bytes, place: bytes) -> None:
        self._keys, self.data, self._place = keys, data, place
        self._sealed = b""

    def sealed(self, packed: bytes = b"") -> bytes:
        """The sealed value; `packed` is the data where somebody has compressed it already."""
        if not self._sealed:
            self._sealed = (
                self._keys.encrypt(packed, self._place) if packed else self._keys.seal(self.data, self._place)
            )
        return self._sealed

    @property
    def open(self) -> bool:
        """True while nobody has sealed it."""
        return not self._sealed


def seal_together(operations: Iterable[Any]) -> None:
    """Seal what a batch of operations carries, compressed in one go."""
    payloads = [o.payload for o in operations if type(o) in _CARRIERS and o.payload is not None and o.payload.open]
    for payload, packed in zip(payloads, compress_together([p.data for p in payloads]), strict=True):
        payload.sealed(packed)


@dataclass(slots=True)
class Keep:
    """Keep a message: the commit decides whether it is a duplicate and gives the numbers."""

    future: Future[Kept]
    receipt: Receipt
    sent_as: bytes | None  # None: nobody will look for it, neither as a duplicate nor by its control id
    content: bytes
    patient: bytes | None
    digest: bytes
    payload: Payload | None  # None: only the fact is kept
    deliveries: tuple[Delivery, ...]
    rules: tuple[str, ...]
    reused: Callable[[], ItemRow] | None = None  # makes the item for a control id that was used before


@dataclass(slots=True)
class ItemRow:
    """Something for a person to look at: counted once per channel, code and subject."""

    id: int
    organization: str
    channel: str
    code: str
    subject: bytes
    payload: Payload
    at: int
    message: int
    delivery: int  # 0: it is about the message
    count: int = 1


@dataclass(slots=True)
class Claim:
    """Claim a delivery for an attempt; `payload` is None when an earlier attempt's output is sent again."""

    future: Future[bool]
    attempt: Attempt
    payload: Payload | None
    items: list[ItemRow] = field(default_factory=list)


@dataclass(slots=True)
class Settle:
    """Record what became of an attempt; False when the attempt no longer owns its delivery."""

    future: Future[bool]
    attempt: Attempt
    settlement: Settlement
    payload: Payload | None  # what the destination answered


@dataclass(slots=True)
class PutAside:
    """Hold a delivery, or let it die, before it was ever claimed: its conversion must not or cannot go on."""

    future: Future[bool]
    delivery: Delivery
    state: str
    reason: str
    at: int
    items: list[ItemRow] = field(default_factory=list)


@dataclass(slots=True)
class Act:
    """Anything rare, in the same order and the same commit as the rest: `run(transaction)` returns its result."""

    future: Future[Any]
    run: Callable[[Any], Any]


@dataclass(slots=True)
class Release:
    """Let go of lanes that other processes may carry, too. Rows are those of `RELEASE`."""

    future: Future[list[str]]
    organization: str
    lanes: list[tuple[str, str, bytes, int, int, int | None, bool]]


_CARRIERS = frozenset({Keep, Claim, Settle})
COMMIT_POINTS: dict[type, tuple[str, str]] = {
    Keep: ("keep.commit.before", "keep.commit.after"),
    Claim: ("claim.commit.before", "claim.commit.after"),
    Settle: ("settle.commit.before", "settle.commit.after"),
    PutAside: ("put_aside.commit.before", "put_aside.commit.after"),
    Act: ("act.commit.before", "act.commit.after"),
    Release: ("release.commit.before", "release.commit.after"),
}
"""The points before and after a commit, by the kinds of operations in it."""
