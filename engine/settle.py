"""settle: what becomes of a delivery after an attempt? A pure function of (outcome, delivery, policy, now).

Invariant: only a positive answer at the declared level is delivered; nothing is dropped, and what is uncertain is
visibly in doubt.
"""

from __future__ import annotations

from engine.errors import Weight
from engine.ids import time_of
from engine.model import Delivery, DeliveryState, Outcome, Settlement
from engine.wiring import DestinationSpec, Retry


def settle(outcome: Outcome, delivery: Delivery, policy: DestinationSpec, now: int, chance: float) -> Settlement:
    """Decide; `chance` in [0, 1) is the jitter, drawn by the caller so that this stays pure."""
    if outcome.taken:
        return _taken(outcome, delivery, policy, now, chance)
    if outcome.weight is Weight.PERMANENT:
        return Settlement(DeliveryState.DEAD, outcome.code, outcome, now, delivery.attempts)
    if outcome.weight is Weight.AMBIGUOUS:
        return _in_doubt(outcome, delivery, policy, now, chance)
    return _again(outcome, delivery, policy.retry, now, chance)


def _taken(outcome: Outcome, delivery: Delivery, policy: DestinationSpec, now: int, chance: float) -> Settlement:
    if policy.delivered_at == "application" and outcome.level != "application":
        return _in_doubt(outcome, delivery, policy, now, chance)
    return Settlement(DeliveryState.DELIVERED, "", outcome, now, delivery.attempts)


def _in_doubt(outcome: Outcome, delivery: Delivery, policy: DestinationSpec, now: int, chance: float) -> Settlement:
    """Bytes may have arrived: hold, or send (or ask) again later; the attempt is not counted against the limit."""
    if policy.in_doubt == "hold":
        return Settlement(DeliveryState.HELD, "in_doubt", outcome, now, delivery.attempts)
    if gave_up(delivery, policy.retry, now):
        return Settlement(DeliveryState.DEAD, "gave_up", outcome, now, delivery.attempts)
    wait = backoff(policy.retry, delivery.tries, chance)
    return Settlement(DeliveryState.IN_DOUBT, outcome.code, outcome, now, delivery.attempts, now + wait)


def _again(outcome: Outcome, delivery: Delivery, retry: Retry, now: int, chance: float) -> Settlement:
    """Try later. An unreachable destination spends no attempt: its breaker decides when the lane goes on.

    A doubt stays one: that this try did not arrive says nothing of the earlier one, so the same bytes go out again.
    """
    spent = delivery.attempts + (0 if outcome.unreachable else 1)
    if gave_up(delivery, retry, now):
        return Settlement(DeliveryState.DEAD, "gave_up", outcome, now, spent)
    if spent >= retry.attempts and not outcome.unreachable:
        return Settlement(DeliveryState.DEAD, "attempts_spent", outcome, now, spent)
    wait = 0 if outcome.unreachable else max(backoff(retry, spent - 1, chance), outcome.retry_after)
    state = DeliveryState.IN_DOUBT if delivery.state is DeliveryState.IN_DOUBT else DeliveryState.QUEUED
    return Settlement(state, outcome.code, outcome, now, spent, now + wait)


def gave_up(delivery: Delivery, retry: Retry, now: int) -> bool:
    """True when the message has waited longer than the destination's `give_up`."""
    return now - time_of(delivery.message) >= retry.give_up


def backoff(retry: Retry, attempt: int, chance: float) -> int:
    """Full jitter: anything from nothing to the capped exponential, microseconds."""
    return int(chance * min(retry.cap, retry.first << min(attempt, 40)))
