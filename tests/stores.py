"""Stores for tests, and short ways to bring deliveries into every state.

Which store `run` and `building.path` open is the choice of the fixture `both_stores`; without it, it is SQLite.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Reply, Weight
from engine.model import (
    Attempt,
    Delivery,
    DeliveryState,
    Finding,
    Identifier,
    Identity,
    Kept,
    MessageState,
    Outcome,
    Receipt,
    Route,
    Settlement,
    Verdict,
)
from engine.store.open_read import Reader, open_for_reading
from engine.store.sqlite import SqliteStore, open_store
from engine.wiring import Channel, DestinationSpec, SourceSpec
from tests import postgres

CHOSEN = "sqlite"
"""The store that is meant where none is named: "sqlite" or "postgres"."""
SQLITE_ONLY = pytest.mark.parametrize("both_stores", ["sqlite"], indirect=True)
"""For a test of SQLite's own files, plans or single process, in a module that runs on both stores."""
POSTGRES_ONLY = pytest.mark.parametrize("both_stores", ["postgres"], indirect=True)
"""For a test of what only processes that share a store have, in a module that runs on both stores."""

NOON = 1_790_000_000_000_000
SITE = "site"
OWNED = 1 << 60
"""A turn in which a test owns any lane."""


class StepClock:
    """Moves a millisecond at every look, and when told."""

    def __init__(self, at: int = NOON) -> None:
        self.at = at

    def now(self) -> int:
        self.at += 1000
        return self.at


@asynccontextmanager
async def opened(folder: Path, clock: StepClock | None = None) -> AsyncIterator[SqliteStore]:
    """A store that knows the organization `site`."""
    store = open_store(folder, "", clock or StepClock(), asyncio.get_running_loop())
    try:
        await store.know(SITE)
        yield store
    finally:
        store.close()


def chosen(folder: Path, clock: StepClock | None = None) -> AbstractAsyncContextManager[Any]:
    """The chosen store of a folder, which knows the organization `site`."""
    return postgres.opened(folder, clock or StepClock()) if CHOSEN == "postgres" else opened(folder, clock)


def reading(folder: Path, key: str = "") -> Reader:
    """The chosen store of a folder as a command opens it that only reads; not on a thread where a loop runs."""
    return open_for_reading(folder, key, postgres.database().url if CHOSEN == "postgres" else "")


def run(folder: Path, work: Callable[[SqliteStore], Awaitable[Any]], clock: StepClock | None = None) -> Any:
    """Open the chosen store, do the work, close it."""

    async def main() -> Any:
        async with chosen(folder, clock) as store:
            return await work(store)

    return asyncio.run(main())


def channel(*destinations: str, name: str = "lab", **changes: Any) -> Channel:
    specs = tuple(DestinationSpec(one, "memory://" + one) for one in destinations or ("ehr",))
    return replace(Channel(name, name, "message", SourceSpec("memory://in"), specs), **changes)


def receipt(
    store: SqliteStore,
    control: str,
    *,
    patient: str = "P1",
    destinations: tuple[str, ...] = ("ehr",),
    wanted: bool = True,
    text: str = "result",
    channel: str = "lab",
    merged: str = "",
    state: MessageState | None = None,
    **changes: Any,
) -> Receipt:
    """A receipt as the path makes one."""
    number = store.ids.next()
    raw = f"MSH|^~\\&|A|B|C|D|||ORU^R01|{control}|T|2.5.1\rPID|1||{patient}\rOBX|1|ST|X||{text}".encode()
    identity = Identity(
        "hl7v2", "ORU^R01", control, ("A", "B"), ("C", "D"), patients=(Identifier(patient, "INTERLOCK-TEST", "MR"),)
    )
    going = DeliveryState.QUEUED if wanted else DeliveryState.FILTERED
    routes = tuple(Route(one, going, "no condition", patient, merged) for one in destinations)
    stands = state or (MessageState.ACCEPTED if wanted else MessageState.FILTERED)
    if stands not in (MessageState.ACCEPTED, MessageState.FILTERED):
        routes = ()
    verdict = Verdict(Reply.ACCEPT, message=number, at=store.now())
    made = Receipt(
        number, channel, SITE, store.now(), raw, len(raw), stands, verdict, identity, text.encode(), routes, "r1",
        30 * 24 * 3600 * 1_000_000,
    )  # fmt: skip
    return replace(made, **changes)


def held(store: SqliteStore, control: str, code: str = "no_header", **changes: Any) -> Receipt:
    """A receipt of a message that cannot be read."""
    made = receipt(store, control, state=MessageState.HELD, **changes)
    verdict = Verdict(Reply.ERROR, code, message=made.id, at=made.at)
    return replace(made, verdict=verdict, canonical=made.raw)


def refused(store: SqliteStore, control: str) -> Receipt:
    """A receipt of a message that is not taken."""
    made = receipt(store, control, state=MessageState.REFUSED)
    return replace(made, raw=b"", identity=None, window=0, verdict=Verdict(Reply.REJECT, "not_accepted"))


async def keep(store: SqliteStore, control: str, **changes: Any) -> Kept:
    return await store.keep(receipt(store, control, **changes))


async def keep_one(store: SqliteStore, control: str, **changes: Any) -> Delivery:
    return (await keep(store, control, **changes)).deliveries[0]


async def claim(store: SqliteStore, delivery: Delivery, *findings: Finding) -> Attempt:
    """Claim a delivery as a worker would that owns its lane."""
    delivery.turn = OWNED
    attempt = Attempt(
        store.ids.next(), delivery, delivery.tries + 1, store.now(), b'{"resourceType":"Bundle"}',
        "application/fhir+json", "r1", "loinc@1", findings,
    )  # fmt: skip
    assert await store.claim(attempt)
    delivery.tries, delivery.attempt = attempt.number, attempt.id
    return attempt


TAKEN = Outcome("HTTP 200", None, "application", b"{}")


async def settle(
    store: SqliteStore, attempt: Attempt, state: DeliveryState, outcome: Outcome = TAKEN, reason: str = ""
) -> bool:
    """Settle an attempt as the worker would."""
    done = await store.settle(attempt, Settlement(state, reason or outcome.code, outcome, store.now(), 1))
    attempt.delivery.state = state
    return done


async def deliver(store: SqliteStore, delivery: Delivery) -> Attempt:
    attempt = await claim(store, delivery)
    await settle(store, attempt, DeliveryState.DELIVERED)
    return attempt


async def kill(store: SqliteStore, delivery: Delivery, code: str = "AE 207") -> None:
    attempt = await claim(store, delivery)
    await settle(store, attempt, DeliveryState.DEAD, Outcome(code, Weight.PERMANENT))


async def doubt(store: SqliteStore, delivery: Delivery) -> None:
    attempt = await claim(store, delivery)
    await settle(store, attempt, DeliveryState.IN_DOUBT, Outcome("answer_timeout", Weight.AMBIGUOUS))


async def states(store: SqliteStore) -> dict[int, tuple[str, str]]:
    """Every delivery's state and reason."""
    query = "SELECT id, state, reason FROM delivery"
    return {
        number: (state, reason) for number, state, reason in await store.read(lambda c: c.execute(query).fetchall())
    }
