"""One commit: many operations of the path become rows, events and answers together.

Invariant: what a ledger remembers between commits (numbers given out, chain heads) changes only after COMMIT has
returned. A failed commit leaves no trace, in the database or in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from engine.errors import RowRefused, StoreUnavailable
from engine.failpoints import failpoints
from engine.model import Delivery, DeliveryState
from engine.ports import Clock
from engine.store import sql
from engine.store.connection import Connection
from engine.store.operations import COMMIT_POINTS, Act, seal_together

OPEN = {
    DeliveryState.QUEUED: 1,
    DeliveryState.CLAIMED: 1,
    DeliveryState.IN_DOUBT: 1,
    DeliveryState.HELD: 2,
    DeliveryState.DEAD: 2,
    DeliveryState.FILTERED: 0,
    DeliveryState.ENDED: 0,
    DeliveryState.DELIVERED: 0,
}
"""Whether a delivery in this state has ended (0), flows (1) or waits for a person or a policy (2)."""

Number = tuple[str, str]
"""Whose numbers: a channel's receipts (destination '') or a destination's deliveries."""

Step = Callable[["Transaction", list[Any]], Sequence[Any]]
"""Runs the operations of one kind in a transaction; gives back a result for each."""


class Ledger:
    """Commits batches on one connection; lives in the writer thread. This one owns every number and every lane.

    The ledger of one of several processes overrides what stands under "what several processes share".
    """

    def __init__(
        self, connection: Connection, clock: Clock, writer: int, epoch: int, steps: Sequence[tuple[type, Step]]
    ) -> None:
        self.connection = connection
        self.clock = clock
        self.writer = writer
        self.counted_by = writer
        self.epoch = epoch
        self.steps = steps
        self.numbers: dict[Number, int] = {}
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.recall()

    def apply(self, operations: Sequence[Any]) -> list[Any]:
        """Commit all operations and return a result for each; an operation that cannot be stored fails alone.

        Raises:
            StoreUnavailable: when the commit failed and nothing of it was kept.
        """
        try:
            with self.connection.told():
                return Transaction(self).commit(operations)
        except RowRefused as error:
            if len(operations) > 1:
                return [self._apply_alone(operation) for operation in operations]
            return [error]

    def _apply_alone(self, operation: Any) -> Any:
        try:
            return self.apply([operation])[0]
        except StoreUnavailable as error:
            return error

    def recall(self) -> None:
        """Read what this ledger remembers between commits."""
        numbers = self.connection.execute(sql.LAST_NUMBERS, (self.writer,))
        self.numbers = {(channel, destination): last for channel, destination, last in numbers}
        heads = self.connection.execute(sql.HEADS, (self.writer,))
        self.heads = {organization: (seq, head) for organization, seq, head in heads}

    # what several processes share

    def commit(self) -> None:
        """Make the transaction durable."""
        self.connection.commit()

    def begin(self, operations: Sequence[Any]) -> None:
        """Begin a transaction for these operations."""
        self.connection.begin()

    def reserve(self, t: Transaction, numbers: Collection[Number]) -> None:
        """Make sure that nobody else gives out these numbers until the commit."""

    def last_number(self, t: Transaction, number: Number) -> int:
        """The latest number given out."""
        return self.numbers.get(number, 0)

    def feed(self, t: Transaction, deliveries: Sequence[Delivery]) -> None:
        """Deliveries were added to their lanes: say which of them this process may carry."""

    def owns(self, delivery: Delivery) -> bool:
        """True when this process may carry the delivery's lane until the commit."""
        return True

    def lock(self, delivery: int) -> None:
        """From here to the commit only this transaction changes the delivery."""

    def touched(self, t: Transaction, delivery: Delivery) -> None:
        """Somebody changed a delivery beside the process that carries its lane."""

    def name_all(self) -> None:
        """The transaction is for every organization there is."""

    def admit(self, organization: str) -> None:
        """The transaction is for one more organization."""


class Transaction:
    """One batch in one transaction. What it learns is handed to the ledger after COMMIT."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.connection = ledger.connection
        self.numbers: dict[Number, int] = {}
        self._events: dict[str, list[tuple[Any, ...]]] = {}
        self._subjects: list[tuple[int, str]] = []
        self._heads: dict[str, tuple[int, bytes]] = {}

    def commit(self, operations: Sequence[Any]) -> list[Any]:
        """Run every operation, write the numbers given out and the events' links, commit."""
        kinds: dict[type, list[int]] = {}
        for position, operation in enumerate(operations):
            kinds.setdefault(type(operation), []).append(position)
        results: list[Any] = [None] * len(operations)
        seal_together(operations)
        self.ledger.begin(operations)
        try:
            for kind, run in self.ledger.steps:
                positions = kinds.get(kind)
                if positions:
                    for position, result in zip(positions, run(self, [operations[p] for p in positions]), strict=True):
                        results[position] = result
            self._write_numbers()
            self._write_links()
            self._end(kinds)
        except BaseException:
            self.connection.roll_back()
            raise
        self.ledger.numbers.update(self.numbers)
        self.ledger.heads.update(self._heads)
        return results

    def _end(self, kinds: Mapping[type, Any]) -> None:
        failpoints(COMMIT_POINTS[kind][0] for kind in kinds)
        self.ledger.commit()
        failpoints(COMMIT_POINTS[kind][1] for kind in kinds)

    def event(self, organization: str, kind: str, subject: int, *details: str | int, rare: bool = True) -> None:
        """Add an event to this commit; a rare one can be found by its subject later."""
        self._events.setdefault(organization, []).append((kind, subject, *details))
        if rare:
            self._subjects.append((subject, organization))

    def next_number(self, channel: str, destination: str = "") -> int:
        """The next delivery number of a destination, or receipt number of a channel."""
        number = channel, destination
        last = self.numbers.get(number)
        if last is None:
            last = self.ledger.last_number(self, number)
        self.numbers[number] = last + 1
        return last + 1

    @contextmanager
    def undoable(self) -> Iterator[None]:
        """What is done inside is undone alone when it raises."""
        self.connection.execute("SAVEPOINT act")
        events, subjects = {k: len(v) for k, v in self._events.items()}, len(self._subjects)
        numbers = dict(self.numbers)
        try:
            yield
        except Exception:
            self.connection.execute("ROLLBACK TO act")
            self._events = {k: v[: events.get(k, 0)] for k, v in self._events.items()}
            del self._subjects[subjects:]
            self.numbers = numbers
            raise
        finally:
            self.connection.execute("RELEASE act")

    def _write_numbers(self) -> None:
        writer = self.ledger.counted_by
        rows = [(channel, destination, writer, last) for (channel, destination), last in self.numbers.items()]
        self.connection.defer(sql.SET_LAST_NUMBER, rows)

    def _write_links(self) -> None:
        """One link a batch and organization: hash(previous hash, place in the chain, body)."""
        at, writer = self.ledger.clock.now(), self.ledger.writer
        links = []
        for organization, entries in self._events.items():
            if not entries:
                continue
            seq, previous = self.ledger.heads.get(organization, (0, b""))
            body = orjson.dumps(entries)
            link = chain_hash(previous, organization, writer, seq + 1, body)
            links.append((organization, writer, seq + 1, at, body, link))
            self._heads[organization] = (seq + 1, link)
        self.connection.defer(sql.ADD_EVENT, links)
        self.connection.defer(sql.SET_HEAD, [(name, writer, seq, head) for name, (seq, head) in self._heads.items()])
        rows = [(subject, o, writer, self._heads[o][0]) for subject, o in self._subjects]
        self.connection.defer(sql.ADD_EVENT_SUBJECT, rows)


def act(t: Transaction, operations: list[Act]) -> list[Any]:
    """Run rare commands one by one, each undone alone when it does not apply."""
    return [_act_one(t, operation) for operation in operations]


def _act_one(t: Transaction, operation: Act) -> Any:
    try:
        with t.undoable(), t.connection.told():
            return operation.run(t)
    except StoreUnavailable as error:  # of the store itself: then the whole commit fails
        if isinstance(error, RowRefused):
            return error
        raise
    except Exception as error:  # whoever asked for it gets it; the others' operations stand
        return error


def chain_hash(previous: bytes, organization: str, writer: int, seq: int, body: bytes) -> bytes:
    """The hash of a link: SHA-256 over the previous hash, the link's place and its body."""
    return hashlib.sha256(b"%b\n%b\n%d\n%d\n%b" % (previous, organization.encode(), writer, seq, body)).digest()
