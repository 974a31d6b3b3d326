"""keep: a batch of received messages becomes rows; the commit decides duplicates and gives the numbers.

Invariant: a message and everything that follows from it (bytes, keys, answer, deliveries, events) is in one commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.errors import Conflict, Reply
from engine.ids import earliest, time_of
from engine.lineage import Seen, Standing, judge
from engine.model import Delivery, Kept, MessageState, Verdict
from engine.store import sql
from engine.store.items import add_items, summed
from engine.store.ledger import OPEN, Number, Transaction
from engine.store.operations import ItemRow, Keep

Rows = list[tuple[Any, ...]]
Judged = tuple[MessageState, Verdict, int | None]
"""What a message is, what is answered, and the message that it repeats or replays."""


@dataclass(slots=True)
class _Batch:
    """The rows of a batch, before they are written, and what was answered to messages of the same name."""

    seen: dict[bytes, dict[bytes, Seen]]
    messages: Rows = field(default_factory=list)
    payloads: Rows = field(default_factory=list)
    keys: Rows = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    rows: Rows = field(default_factory=list)  # of the deliveries
    reused: list[ItemRow] = field(default_factory=list)


def keep(t: Transaction, operations: list[Keep]) -> list[Kept]:
    """Judge duplicates, number messages and deliveries, add the rows."""
    t.ledger.reserve(t, _numbers(operations))
    batch = _Batch(_seen(t, operations))
    results = [_keep_one(t, operation, batch) for operation in operations]
    t.connection.defer(sql.ADD_MESSAGE, batch.messages)
    t.connection.defer(sql.ADD_PAYLOAD, batch.payloads)
    t.connection.defer(sql.ADD_RECEIPT_KEY, batch.keys)
    t.connection.defer(sql.ADD_DELIVERY, batch.rows)
    t.ledger.feed(t, batch.deliveries)
    add_items(t, summed([batch.reused]))
    return results


def _numbers(operations: list[Keep]) -> set[Number]:
    """Whose numbers the batch may need."""
    numbers = {(o.receipt.channel, "") for o in operations}
    numbers.update((d.channel, d.destination) for o in operations for d in o.deliveries)
    return numbers


def _seen(t: Transaction, operations: list[Keep]) -> dict[bytes, dict[bytes, Seen]]:
    """By key and content: the answers within each message's window that decide what it is."""
    wanted = [
        (o.sent_as, o.content, earliest(o.receipt.at - o.receipt.window), o.receipt.original)
        for o in operations
        if o.sent_as is not None and o.receipt.window
    ]
    found: dict[bytes, dict[bytes, Seen]] = {}
    for sent_as, content, message, reply, code in t.connection.ask(sql.SEEN, wanted):
        found.setdefault(sent_as, {})[content] = Seen(message, reply, code)
    return found


def _keep_one(t: Transaction, operation: Keep, batch: _Batch) -> Kept:
    receipt = operation.receipt
    state, verdict, original = _judge_replay(t, operation, _judge(t, operation, batch))
    number = t.next_number(receipt.channel)
    payload = operation.payload
    kept: tuple[Delivery, ...] = ()
    if state is MessageState.DUPLICATE:
        if _digest_of(t, original) == operation.digest:
            payload = None
    elif state is receipt.state:
        kept = _add_deliveries(t, operation, batch)
        _remember(operation, verdict, batch)
    else:
        payload = None
    if payload is not None:
        batch.payloads.append((receipt.id, receipt.organization, payload.sealed()))
    identity = receipt.identity
    batch.messages.append(
        (
            receipt.id, receipt.organization, receipt.channel, t.ledger.writer, number,
            state.value, verdict.code, identity.type if identity else "", receipt.size, operation.digest,
            operation.sent_as, operation.content, operation.patient, original, receipt.revision, receipt.at,
        )
    )  # fmt: skip
    t.event(receipt.organization, state.value, receipt.id, number, verdict.code, rare=not kept)
    return Kept(verdict, state, kept)


def _judge(t: Transaction, operation: Keep, batch: _Batch) -> Judged:
    receipt = operation.receipt
    if operation.sent_as is None or not receipt.window:
        return receipt.state, receipt.verdict, receipt.original or None
    answered = batch.seen.get(operation.sent_as, {})
    if receipt.original:  # a replay is no duplicate of the message that it replaces
        answered = {content: one for content, one in answered.items() if one.message != receipt.original}
    standing, earlier = judge(operation.content, answered, receipt.strict)
    if standing is Standing.DUPLICATE and earlier is not None:
        return MessageState.DUPLICATE, _stored_answer(earlier), earlier.message
    if standing is Standing.CONFLICT:
        latest = max(earlier.message for earlier in answered.values())
        return MessageState.REFUSED, _conflict(receipt.at, receipt.id), latest
    if standing is Standing.REUSED:
        t.event(receipt.organization, Standing.REUSED.value, receipt.id)
        if operation.reused is not None:
            batch.reused.append(operation.reused())
    return receipt.state, receipt.verdict, receipt.original or None


def _judge_replay(t: Transaction, operation: Keep, judged: Judged) -> Judged:
    """A replay ends the held message in the commit that keeps its successor, and only once."""
    receipt = operation.receipt
    if not receipt.original or judged[0] is MessageState.REFUSED:
        return judged
    if t.connection.execute(sql.END_REPLAYED, (receipt.at, receipt.original)).rowcount == 1:
        t.event(receipt.organization, "replayed", receipt.original, receipt.id)
        return judged
    text = "the message was replayed or ended before"
    verdict = Verdict(Reply.REJECT, Conflict.code, text, message=receipt.id, at=receipt.at)
    return MessageState.REFUSED, verdict, receipt.original


def _remember(operation: Keep, verdict: Verdict, batch: _Batch) -> None:
    """What is answered now answers the same message when it comes again, in this batch, too."""
    if operation.sent_as is None:
        return
    receipt = operation.receipt
    answered = Seen(receipt.id, verdict.reply.value, verdict.code)
    batch.keys.append(
        (receipt.organization, operation.sent_as, operation.content, receipt.id, answered.reply, answered.code)
    )
    batch.seen.setdefault(operation.sent_as, {})[operation.content] = answered


def _digest_of(t: Transaction, message: int | None) -> bytes | None:
    row = t.connection.execute(sql.DIGEST_OF, (message,)).fetchone()
    return row[0] if row else None


def _add_deliveries(t: Transaction, operation: Keep, batch: _Batch) -> tuple[Delivery, ...]:
    at = operation.receipt.at
    for d, rule in zip(operation.deliveries, operation.rules, strict=True):
        d.seq = t.next_number(d.channel, d.destination)
        batch.rows.append(
            (
                d.id, d.organization, d.message, d.channel, d.destination, d.lane, d.seq, d.barrier or None,
                d.order_key, rule, d.state.value, OPEN[d.state], "", 0, 0, 0, 0, at,
            )
        )  # fmt: skip
        batch.deliveries.append(d)
    return operation.deliveries


def _stored_answer(earlier: Seen) -> Verdict:
    return Verdict(Reply(earlier.reply), earlier.code, message=earlier.message, at=time_of(earlier.message))


def _conflict(at: int, message: int) -> Verdict:
    text = "this control id was used before with other content"
    return Verdict(Reply.ERROR, Conflict.code, text, "MSH-10", message=message, at=at)
