"""settle: a table of outcomes against what becomes of the delivery."""

from __future__ import annotations

import pytest

from engine.errors import Weight
from engine.ids import Ids
from engine.model import Delivery, DeliveryState, Outcome
from engine.settle import backoff, settle
from engine.wiring import DAY, DestinationSpec, Retry

NOW = 1_800_000_000_000_000


class At:
    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


def delivery(attempts: int = 0, age: int = 0, state: DeliveryState = DeliveryState.QUEUED, tries: int = 0) -> Delivery:
    message = Ids(At(NOW - age)).next()
    return Delivery(1, message, "site", "lab", "ehr", b"", 1, b"", state=state, attempts=attempts, tries=tries)


TAKEN = Outcome("AA", level="application")
STORED = Outcome("CA", level="commit")
BUSY = Outcome("HTTP 503", Weight.TRANSIENT)
LOST = Outcome("timeout", Weight.AMBIGUOUS)
WRONG = Outcome("AR", Weight.PERMANENT)
GONE = Outcome("unreachable", Weight.TRANSIENT, unreachable=True)

CASES = [
    ("taken", TAKEN, {}, 0, 0, DeliveryState.DELIVERED, ""),
    ("stored is enough", STORED, {}, 0, 0, DeliveryState.DELIVERED, ""),
    ("stored is not enough", STORED, {"delivered_at": "application"}, 0, 0, DeliveryState.IN_DOUBT, "CA"),
    ("application is", TAKEN, {"delivered_at": "application"}, 0, 0, DeliveryState.DELIVERED, ""),
    ("rejected", WRONG, {}, 0, 0, DeliveryState.DEAD, "AR"),
    ("busy", BUSY, {}, 0, 0, DeliveryState.QUEUED, "HTTP 503"),
    ("busy for the last time", BUSY, {}, 2, 0, DeliveryState.DEAD, "attempts_spent"),
    ("busy for too long", BUSY, {}, 0, 8 * DAY, DeliveryState.DEAD, "gave_up"),
    ("unreachable spends nothing", GONE, {}, 2, 0, DeliveryState.QUEUED, "unreachable"),
    ("unreachable for too long", GONE, {}, 0, 8 * DAY, DeliveryState.DEAD, "gave_up"),
    ("lost, resend", LOST, {}, 0, 0, DeliveryState.IN_DOUBT, "timeout"),
    ("lost, ask", LOST, {"in_doubt": "ask"}, 0, 0, DeliveryState.IN_DOUBT, "timeout"),
    ("lost, hold", LOST, {"in_doubt": "hold"}, 0, 0, DeliveryState.HELD, "in_doubt"),
    ("lost for too long", LOST, {}, 0, 8 * DAY, DeliveryState.DEAD, "gave_up"),
]


@pytest.mark.parametrize(("outcome", "policy", "attempts", "age", "state", "reason"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_outcome_by_policy(
    outcome: Outcome, policy: dict[str, str], attempts: int, age: int, state: DeliveryState, reason: str
) -> None:
    spec = DestinationSpec("ehr", "memory://ehr", retry=Retry(attempts=3), **policy)  # type: ignore[arg-type]
    settled = settle(outcome, delivery(attempts, age), spec, NOW, 0.5)
    assert (settled.state, settled.reason) == (state, reason)


def test_only_transient_answers_spend_attempts() -> None:
    spec = DestinationSpec("ehr", "memory://ehr")
    spent = {o.code: settle(o, delivery(), spec, NOW, 0.5).attempts for o in (TAKEN, BUSY, LOST, WRONG, GONE)}
    assert spent == {"AA": 0, "HTTP 503": 1, "timeout": 0, "AR": 0, "unreachable": 0}


def test_a_destination_that_names_its_wait_is_heard() -> None:
    busy = Outcome("HTTP 429", Weight.TRANSIENT, retry_after=90_000_000)
    assert settle(busy, delivery(), DestinationSpec("e", "memory://e"), NOW, 0.0).next_at == NOW + 90_000_000


@pytest.mark.parametrize(("attempt", "longest"), [(0, 1_000_000), (1, 2_000_000), (3, 8_000_000), (60, 600_000_000)])
def test_backoff_is_full_jitter_below_a_cap(attempt: int, longest: int) -> None:
    assert backoff(Retry(), attempt, 0.0) == 0
    assert backoff(Retry(), attempt, 0.999999) == pytest.approx(longest, rel=1e-4)


@pytest.mark.parametrize("outcome", [BUSY, GONE], ids=["busy", "unreachable"])
def test_a_doubt_stays_one_when_the_next_try_does_not_arrive(outcome: Outcome) -> None:
    doubtful = delivery(state=DeliveryState.IN_DOUBT)
    settled = settle(outcome, doubtful, DestinationSpec("e", "memory://e"), NOW, 0.5)
    assert settled.state is DeliveryState.IN_DOUBT


def test_many_lost_answers_are_waited_for_longer_and_longer() -> None:
    waits = [
        settle(LOST, delivery(tries=tries), DestinationSpec("e", "memory://e"), NOW, 0.5).next_at - NOW
        for tries in (0, 3, 6)
    ]
    assert waits == [500_000, 4_000_000, 32_000_000]
