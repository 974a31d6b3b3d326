"""One commit: many operations of the path become rows, events and answers together.

Invariant: what this module remembers between commits (numbers given out, chain heads) changes only after COMMIT has
returned. A failed commit leaves no trace, in the database or in memory.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import orjson

from engine.errors import Conflict, Reply, RowRefused, StoreUnavailable
from engine.failpoints import failpoints
from engine.ids import earliest, time_of
from engine.lineage import Seen, Standing, judge
from engine.model import DeliveryState, Kept, MessageState, Verdict
from engine.ports import Clock
from engine.store import sql
from engine.store.operations import Act, Claim, ItemRow, Keep, PutAside, Settle, seal_together
from engine.store.rows import read_rows, write_rows

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


class Ledger:
    """Commits batches on one connection; lives in the writer thread."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, writer: int, epoch: int) -> None:
        self.connection = connection
        self.clock = clock
        self.writer = writer
        self.epoch = epoch
        self.numbers: dict[tuple[str, str], int] = {
            (channel, destination): last
            for channel, destination, last in connection.execute(sql.LAST_NUMBERS, (writer,))
        }
        self.heads: dict[str, tuple[int, bytes]] = {
            organization: (seq, head) for organization, seq, head in connection.execute(sql.HEADS, (writer,))
        }

    def apply(self, operations: Sequence[Any]) -> list[Any]:
        """Commit all operations and return a result for each; an operation that cannot be stored fails alone.

        Raises:
            StoreUnavailable: when the commit failed and nothing of it was kept.
        """
        try:
            return Transaction(self).commit(operations)
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError) as error:
            if len(operations) > 1:
                return [self._apply_alone(operation) for operation in operations]
            return [RowRefused(f"keeping one operation: {type(error).__name__}")]
        except sqlite3.Error as error:
            raise StoreUnavailable(f"committing: {error.sqlite_errorname}") from error

    def _apply_alone(self, operation: Any) -> Any:
        try:
            return self.apply([operation])[0]
        except StoreUnavailable as error:
            return error


class Transaction:
    """One batch in one transaction. What it learns is handed to the ledger after COMMIT."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.connection = ledger.connection
        self.numbers: dict[tuple[str, str], int] = {}
        self.events: dict[str, list[tuple[Any, ...]]] = {}
        self.subjects: list[tuple[int, str]] = []
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.reused: list[ItemRow] = []

    def commit(self, operations: Sequence[Any]) -> list[Any]:
        """Run every operation, write the numbers given out and the events' links, commit."""
        kinds: dict[type, list[int]] = {}
        for position, operation in enumerate(operations):
            kinds.setdefault(type(operation), []).append(position)
        results: list[Any] = [None] * len(operations)
        seal_together(operations)
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, run in _STEPS:
                positions = kinds.get(kind)
                if positions:
                    for position, result in zip(positions, run(self, [operations[p] for p in positions]), strict=True):
                        results[position] = result
            self._write_numbers()
            self._write_links()
            failpoints(COMMIT_POINTS[kind][0] for kind in kinds)
            self.connection.execute("COMMIT")
            failpoints(COMMIT_POINTS[kind][1] for kind in kinds)
        except BaseException:
            self._roll_back()
            raise
        self._remember()
        return results

    def event(self, organization: str, kind: str, subject: int, *details: str | int, rare: bool = True) -> None:
        """Add an event to this commit; a rare one can be found by its subject later."""
        self.events.setdefault(organization, []).append((kind, subject, *details))
        if rare:
            self.subjects.append((subject, organization))

    def next_number(self, channel: str, destination: str = "") -> int:
        """The next delivery number of a destination, or receipt number of a channel."""
        key = channel, destination
        last = self.numbers.get(key)
        if last is None:
            last = self.ledger.numbers.get(key, 0)
        self.numbers[key] = last + 1
        return last + 1

    # keep

    def keep(self, operations: list[Keep]) -> list[Kept]:
        """Judge duplicates, number messages and deliveries, add the rows."""
        seen = self._seen(operations)
        messages: list[tuple[Any, ...]] = []
        payloads: list[tuple[int, bytes]] = []
        keys: list[tuple[Any, ...]] = []
        deliveries: list[tuple[Any, ...]] = []
        results = []
        for operation in operations:
            kept = self._keep_one(operation, seen, messages, payloads, keys, deliveries)
            results.append(kept)
        write_rows(self.connection, sql.ADD_MESSAGE, messages)
        write_rows(self.connection, sql.ADD_PAYLOAD, payloads)
        write_rows(self.connection, sql.ADD_RECEIPT_KEY, keys)
        write_rows(self.connection, sql.ADD_DELIVERY, deliveries)
        self._add_items(_summed([self.reused]))
        return results

    def _keep_one(
        self,
        operation: Keep,
        seen: dict[bytes, dict[bytes, Seen]],
        messages: list[tuple[Any, ...]],
        payloads: list[tuple[int, bytes]],
        keys: list[tuple[Any, ...]],
        deliveries: list[tuple[Any, ...]],
    ) -> Kept:
        receipt = operation.receipt
        state, verdict, original = self._judge_replay(operation, self._judge(operation, seen))
        number = self.next_number(receipt.channel)
        payload = operation.payload
        kept: tuple[Any, ...] = ()
        if state is MessageState.DUPLICATE:
            if self._digest_of(original) == operation.digest:
                payload = None
        elif state is receipt.state:
            kept = self._add_deliveries(operation, deliveries)
            if operation.sent_as is not None:
                answered = Seen(receipt.id, verdict.reply.value, verdict.code)
                keys.append((operation.sent_as, operation.content, receipt.id, answered.reply, answered.code))
                seen.setdefault(operation.sent_as, {})[operation.content] = answered
        else:
            payload = None
        if payload is not None:
            payloads.append((receipt.id, payload.sealed()))
        identity = receipt.identity
        messages.append(
            (
                receipt.id, receipt.organization, receipt.channel, self.ledger.writer, number,
                state.value, verdict.code, identity.type if identity else "", receipt.size, operation.digest,
                operation.sent_as, operation.content, operation.patient, original, receipt.revision, receipt.at,
            )
        )  # fmt: skip
        self.event(receipt.organization, state.value, receipt.id, number, verdict.code, rare=not kept)
        return Kept(verdict, state, kept)

    def _judge(self, operation: Keep, seen: dict[bytes, dict[bytes, Seen]]) -> tuple[MessageState, Verdict, int | None]:
        receipt = operation.receipt
        if operation.sent_as is None or not receipt.window:
            return receipt.state, receipt.verdict, receipt.original or None
        answered = seen.get(operation.sent_as, {})
        if receipt.original:  # a replay is no duplicate of the message that it replaces
            answered = {content: one for content, one in answered.items() if one.message != receipt.original}
        standing, earlier = judge(operation.content, answered, receipt.strict)
        if standing is Standing.DUPLICATE and earlier is not None:
            return MessageState.DUPLICATE, _stored_answer(earlier), earlier.message
        if standing is Standing.CONFLICT:
            latest = max(earlier.message for earlier in answered.values())
            return MessageState.REFUSED, _conflict(receipt.at, receipt.id), latest
        if standing is Standing.REUSED:
            self.event(receipt.organization, Standing.REUSED.value, receipt.id)
            if operation.reused is not None:
                self.reused.append(operation.reused())
        return receipt.state, receipt.verdict, receipt.original or None

    def _judge_replay(
        self, operation: Keep, judged: tuple[MessageState, Verdict, int | None]
    ) -> tuple[MessageState, Verdict, int | None]:
        """A replay ends the held message in the commit that keeps its successor, and only once."""
        receipt = operation.receipt
        if not receipt.original or judged[0] is MessageState.REFUSED:
            return judged
        if self.connection.execute(sql.END_REPLAYED, (receipt.at, receipt.original)).rowcount == 1:
            self.event(receipt.organization, "replayed", receipt.original, receipt.id)
            return judged
        text = "the message was replayed or ended before"
        verdict = Verdict(Reply.REJECT, Conflict.code, text, message=receipt.id, at=receipt.at)
        return MessageState.REFUSED, verdict, receipt.original

    def _seen(self, operations: list[Keep]) -> dict[bytes, dict[bytes, Seen]]:
        """By key and content: the answers within each message's window that decide what it is."""
        wanted = [
            (o.sent_as, o.content, earliest(o.receipt.at - o.receipt.window), o.receipt.original)
            for o in operations
            if o.sent_as is not None and o.receipt.window
        ]
        found: dict[bytes, dict[bytes, Seen]] = {}
        for sent_as, content, message, reply, code in read_rows(self.connection, sql.SEEN, wanted):
            found.setdefault(sent_as, {})[content] = Seen(message, reply, code)
        return found

    def _digest_of(self, message: int | None) -> bytes | None:
        row = self.connection.execute(sql.DIGEST_OF, (message,)).fetchone()
        return row[0] if row else None

    def _add_deliveries(self, operation: Keep, rows: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        at = operation.receipt.at
        for delivery, rule in zip(operation.deliveries, operation.rules, strict=True):
            delivery.seq = self.next_number(delivery.channel, delivery.destination)
            rows.append(
                (
                    delivery.id, delivery.message, delivery.channel, delivery.destination, delivery.lane, delivery.seq,
                    delivery.barrier or None, delivery.order_key, rule, delivery.state.value, OPEN[delivery.state],
                    "", 0, 0, 0, 0, at,
                )
            )  # fmt: skip
        return operation.deliveries

    # claim, settle, put aside

    def claim(self, operations: list[Claim]) -> list[bool]:
        """Take deliveries for their attempts; one that changed hands meanwhile is not taken."""
        epoch = self.ledger.epoch
        rows = [(o.attempt.id, epoch, o.attempt.at, o.attempt.delivery.id, o.attempt.delivery.attempt)
                for o in operations]  # fmt: skip
        taken = write_rows(self.connection, sql.CLAIM, rows)
        won = [True] * len(operations) if taken == len(operations) else [self._holds(o) for o in operations]
        winners = [operation for operation, mine in zip(operations, won, strict=True) if mine]
        write_rows(self.connection, sql.ADD_ATTEMPT, [self._attempt_row(o) for o in winners])
        write_rows(self.connection, sql.ADD_PAYLOAD, [(o.attempt.id, o.payload.sealed()) for o in winners if o.payload])
        for operation in winners:
            delivery = operation.attempt.delivery
            self.event(delivery.organization, "claimed", delivery.id, operation.attempt.id, rare=False)
        self._add_items(_summed(operation.items for operation in winners if operation.items))
        return won

    def _holds(self, operation: Claim) -> bool:
        row = self.connection.execute(sql.CLAIMED_BY, (operation.attempt.delivery.id,)).fetchone()
        return bool(row) and row[0] == operation.attempt.id

    def _attempt_row(self, operation: Claim) -> tuple[Any, ...]:
        a = operation.attempt
        return (
            a.id, a.delivery.id, a.number, self.ledger.epoch, a.at, a.repeats or a.id, a.content_type,
            a.revision, a.tables,
        )  # fmt: skip

    def settle(self, operations: list[Settle]) -> list[bool]:
        """Record outcomes; an attempt that lost its delivery leaves its outcome as evidence only."""
        rows = [_settled_row(operation, self.ledger.epoch) for operation in operations]
        changed = write_rows(self.connection, sql.SETTLE, rows)
        mine = [True] * len(operations)
        if changed != len(operations):
            mine = [self._settled(operation) for operation in operations]
        write_rows(self.connection, sql.SET_OUTCOME, [_outcome_row(operation) for operation in operations])
        for operation in operations:
            delivery, settlement = operation.attempt.delivery, operation.settlement
            ordinary = settlement.state is DeliveryState.DELIVERED
            self.event(delivery.organization, settlement.state.value, delivery.id, settlement.reason, rare=not ordinary)
        return mine

    def _settled(self, operation: Settle) -> bool:
        attempt, settlement = operation.attempt, operation.settlement
        values = (attempt.delivery.id, attempt.id, settlement.state.value, settlement.at)
        return self.connection.execute(sql.SETTLED, values).fetchone() is not None

    def put_aside(self, operations: list[PutAside]) -> list[bool]:
        """Hold deliveries, or let them die, before a claim."""
        results = []
        for o in operations:
            done = self.connection.execute(sql.PUT_ASIDE, (o.state, o.reason, o.at, o.delivery.id)).rowcount == 1
            if done:
                self.event(o.delivery.organization, o.state, o.delivery.id, o.reason)
                self._add_items(o.items)
            results.append(done)
        return results

    def _add_items(self, items: Iterable[ItemRow]) -> None:
        """Count what is open already; open what is new. Only a new item is sealed."""
        for i in items:
            key = (i.organization, i.channel, i.code, i.subject)
            if self.connection.execute(sql.COUNT_ITEM, (i.count, i.at, *key)).rowcount == 0:
                row = (i.id, *key, i.payload.sealed(), i.at, i.at, i.count, i.message, i.delivery)
                self.connection.execute(sql.ADD_ITEM, row)

    # acts of persons and of the engine itself

    def act(self, operations: list[Act]) -> list[Any]:
        """Run rare commands one by one, each undone alone when it does not apply."""
        return [self._act_one(operation) for operation in operations]

    def _act_one(self, operation: Act) -> Any:
        self.connection.execute("SAVEPOINT act")
        events, subjects = {k: len(v) for k, v in self.events.items()}, len(self.subjects)
        numbers = dict(self.numbers)
        try:
            result = operation.run(self)
        except Exception as error:
            self.connection.execute("ROLLBACK TO act")
            self.events = {k: v[: events.get(k, 0)] for k, v in self.events.items()}
            del self.subjects[subjects:]
            self.numbers = numbers
            result = error if not isinstance(error, sqlite3.Error) else StoreUnavailable("running a command")
        self.connection.execute("RELEASE act")
        return result

    # the end of the transaction

    def _write_numbers(self) -> None:
        writer = self.ledger.writer
        rows = [(channel, destination, writer, last) for (channel, destination), last in self.numbers.items()]
        self.connection.executemany(sql.SET_LAST_NUMBER, rows)

    def _write_links(self) -> None:
        """One link a batch and organization: hash(previous hash, place in the chain, body)."""
        at = self.ledger.clock.now()
        for organization, entries in self.events.items():
            if not entries:
                continue
            seq, previous = self.ledger.heads.get(organization, (0, b""))
            body = orjson.dumps(entries)
            link = chain_hash(previous, organization, self.ledger.writer, seq + 1, body)
            self.connection.execute(sql.ADD_EVENT, (organization, self.ledger.writer, seq + 1, at, body, link))
            self.connection.execute(sql.SET_HEAD, (organization, self.ledger.writer, seq + 1, link))
            self.heads[organization] = (seq + 1, link)
        rows = [(subject, o, self.ledger.writer, self.heads[o][0]) for subject, o in self.subjects]
        if rows:
            self.connection.executemany(sql.ADD_EVENT_SUBJECT, rows)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _remember(self) -> None:
        ledger = self.ledger
        ledger.numbers.update(self.numbers)
        ledger.heads.update(self.heads)


def chain_hash(previous: bytes, organization: str, writer: int, seq: int, body: bytes) -> bytes:
    """The hash of a link: SHA-256 over the previous hash, the link's place and its body."""
    return hashlib.sha256(b"%b\n%b\n%d\n%d\n%b" % (previous, organization.encode(), writer, seq, body)).digest()


def _summed(lists: Iterable[list[ItemRow]]) -> Iterable[ItemRow]:
    """The items of a batch, the same ones counted together."""
    found: dict[tuple[str, str, str, bytes], ItemRow] = {}
    for item in chain.from_iterable(lists):
        same = found.setdefault((item.organization, item.channel, item.code, item.subject), item)
        if same is not item:
            same.count += item.count
    return found.values()


def _settled_row(operation: Settle, epoch: int) -> tuple[Any, ...]:
    s, attempt = operation.settlement, operation.attempt
    return (s.state.value, OPEN[s.state], s.reason, s.attempts, s.next_at, s.at, attempt.delivery.id, attempt.id, epoch)


def _outcome_row(operation: Settle) -> tuple[Any, ...]:
    settlement = operation.settlement
    outcome = settlement.outcome
    word = "taken" if outcome.weight is None else outcome.weight.value
    answer = operation.payload.sealed() if operation.payload else None
    return settlement.at, word, outcome.code, answer, operation.attempt.id


def _stored_answer(earlier: Seen) -> Verdict:
    return Verdict(Reply(earlier.reply), earlier.code, message=earlier.message, at=time_of(earlier.message))


def _conflict(at: int, message: int) -> Verdict:
    text = "this control id was used before with other content"
    return Verdict(Reply.ERROR, Conflict.code, text, "MSH-10", message=message, at=at)


_STEPS: tuple[tuple[type, Any], ...] = (
    (Settle, Transaction.settle),
    (Claim, Transaction.claim),
    (Keep, Transaction.keep),
    (PutAside, Transaction.put_aside),
    (Act, Transaction.act),
)
COMMIT_POINTS: dict[type, tuple[str, str]] = {
    Keep: ("keep.commit.before", "keep.commit.after"),
    Claim: ("claim.commit.before", "claim.commit.after"),
    Settle: ("settle.commit.before", "settle.commit.after"),
    PutAside: ("put_aside.commit.before", "put_aside.commit.after"),
    Act: ("act.commit.before", "act.commit.after"),
}
"""The points before and after a commit, by the kinds of operations in it."""
