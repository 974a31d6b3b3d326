"""claim, settle, put aside: what carrying deliveries writes, many at a time.

Invariant: a delivery is changed only by whoever its row says has it: the attempt before a claim, the attempt and epoch
of a claim at its settlement. What comes late is kept as evidence and changes nothing.
"""

from __future__ import annotations

from typing import Any

from engine.model import DeliveryState
from engine.store import sql
from engine.store.items import add_items, summed
from engine.store.ledger import OPEN, Transaction
from engine.store.operations import Claim, PutAside, Settle


def claim(t: Transaction, operations: list[Claim]) -> list[bool]:
    """Take deliveries for their attempts; one that changed hands meanwhile is not taken."""
    mine = [operation for operation in operations if t.ledger.owns(operation.attempt.delivery)]
    epoch = t.ledger.epoch
    rows = [(o.attempt.id, epoch, o.attempt.at, o.attempt.delivery.id, o.attempt.delivery.attempt) for o in mine]
    taken = t.connection.write(sql.CLAIM, rows)
    won = [True] * len(operations) if taken == len(operations) else [_holds(t, o) for o in operations]
    winners = [operation for operation, is_won in zip(operations, won, strict=True) if is_won]
    t.connection.defer(sql.ADD_ATTEMPT, [_attempt_row(o, epoch) for o in winners])
    payloads = [(o.attempt.id, o.attempt.delivery.organization, o.payload.sealed()) for o in winners if o.payload]
    t.connection.defer(sql.ADD_PAYLOAD, payloads)
    for operation in winners:
        delivery = operation.attempt.delivery
        t.event(delivery.organization, "claimed", delivery.id, operation.attempt.id, rare=False)
    add_items(t, summed(operation.items for operation in winners if operation.items))
    return won


def _holds(t: Transaction, operation: Claim) -> bool:
    row = t.connection.execute(sql.CLAIMED_BY, (operation.attempt.delivery.id,)).fetchone()
    return bool(row) and row[0] == operation.attempt.id


def _attempt_row(operation: Claim, epoch: int) -> tuple[Any, ...]:
    a = operation.attempt
    return (
        a.id, a.delivery.organization, a.delivery.id, a.number, epoch, a.at, a.repeats or a.id, a.content_type,
        a.revision, a.tables,
    )  # fmt: skip


def settle(t: Transaction, operations: list[Settle]) -> list[bool]:
    """Record outcomes; an attempt that lost its delivery leaves its outcome as evidence only."""
    rows = [_settled_row(operation, t.ledger.epoch) for operation in operations]
    changed = t.connection.write(sql.SETTLE, rows)
    mine = [True] * len(operations)
    if changed != len(operations):
        mine = [_settled(t, operation) for operation in operations]
    t.connection.defer(sql.SET_OUTCOME, [_outcome_row(operation) for operation in operations])
    for operation in operations:
        delivery, settlement = operation.attempt.delivery, operation.settlement
        ordinary = settlement.state is DeliveryState.DELIVERED
        t.event(delivery.organization, settlement.state.value, delivery.id, settlement.reason, rare=not ordinary)
    return mine


def _settled(t: Transaction, operation: Settle) -> bool:
    attempt, settlement = operation.attempt, operation.settlement
    values = (attempt.delivery.id, attempt.id, settlement.state.value, settlement.at)
    return t.connection.execute(sql.SETTLED, values).fetchone() is not None


def put_aside(t: Transaction, operations: list[PutAside]) -> list[bool]:
    """Hold deliveries, or let them die, before a claim."""
    results = []
    for o in operations:
        values = (o.state, o.reason, o.at, o.delivery.id, o.delivery.attempt)
        done = t.ledger.owns(o.delivery) and t.connection.execute(sql.PUT_ASIDE, values).rowcount == 1
        if done:
            t.event(o.delivery.organization, o.state, o.delivery.id, o.reason)
            add_items(t, o.items)
        results.append(done)
    return results


def _settled_row(operation: Settle, epoch: int) -> tuple[Any, ...]:
    s, attempt = operation.settlement, operation.attempt
    return (s.state.value, OPEN[s.state], s.reason, s.attempts, s.next_at, s.at, attempt.delivery.id, attempt.id, epoch)


def _outcome_row(operation: Settle) -> tuple[Any, ...]:
    settlement = operation.settlement
    outcome = settlement.outcome
    word = "taken" if outcome.weight is None else outcome.weight.value
    answer = operation.payload.sealed() if operation.payload else None
    return settlement.at, word, outcome.code, answer, operation.attempt.id
