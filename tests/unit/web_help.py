"""What the tests of the HTTP API share: a runtime of a real store and nothing else, and a client without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from engine.clock import SystemClock
from engine.errors import Reply
from engine.model import (
    Attempt,
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
from engine.settings import Settings
from engine.store.sqlite import SqliteStore, open_store
from engine.web.access import make_token
from engine.web.app import build_app

RAW = (
    b"MSH|^~\\&|LAB|INTERLOCK-TEST|EHR|INTERLOCK-TEST|20260105120000||ORU^R01|C1|T|2.5.1\r"
    b"PID|1||P1^^^INTERLOCK-TEST^MR||Willow^Wendy\r"
    b"OBX|1|NM|K^Potassium^L||5.1|mmol/L\r"
)
OUTPUT = b'{"resourceType": "Bundle", "total": 1}'
ANSWER = b'{"resourceType": "Bundle", "type": "transaction-response"}'


class FakeRuntime:
    """What the web side asks of a runtime, over a real store."""

    def __init__(self, settings: Settings, store: SqliteStore) -> None:
        self.settings, self.store = settings, store
        self.ready = True
        self.ports: Any = SimpleNamespace(room=True)
        self.address = "mllp://127.0.0.1:2575"

    def report(self) -> list[dict[str, Any]]:
        names = {"name": "lab", "title": "Laboratory", "class": "result", "environment": "test", "revision": "abc"}
        destinations = [{"name": "ehr", "state": "started"}]
        return [{**names, "state": "started", "address": self.address, "destinations": destinations}]


async def keep(store: SqliteStore, control_id: str = "C1", patient: str = "P1") -> Kept:
    """A message as the path keeps it, with one delivery."""
    number = store.ids.next()
    identity = Identity(
        "hl7v2",
        "ORU^R01",
        control_id,
        ("LAB", "INTERLOCK-TEST"),
        ("EHR", "INTERLOCK-TEST"),
        patients=(Identifier(patient, "INTERLOCK-TEST", "MR"),),
    )
    verdict = Verdict(Reply.ACCEPT, message=number, at=store.now())
    routes = (Route("ehr", DeliveryState.QUEUED, "every message", lane=patient),)
    state = MessageState.ACCEPTED
    return await store.keep(
        Receipt(number, "lab", "site", store.now(), RAW, len(RAW), state, verdict, identity, RAW, routes, "abc")
    )


async def deliver(store: SqliteStore, kept: Kept) -> None:
    """Claim and settle the message's delivery."""
    delivery = kept.deliveries[0]
    finding = Finding("unmapped", "OBX-3", subject="K", table="loinc")
    attempt = Attempt(
        store.ids.next(), delivery, 1, store.now(), OUTPUT, "application/fhir+json", "abc", "loinc@1", (finding,)
    )
    assert await store.claim(attempt)
    outcome = Outcome("200", level="application", answer=ANSWER)
    assert await store.settle(attempt, Settlement(DeliveryState.DELIVERED, "delivered", outcome, store.now(), 1))


@asynccontextmanager
async def open_runtime(folder: Path) -> AsyncIterator[tuple[FakeRuntime, str]]:
    """A runtime in a folder and its token."""
    settings = Settings(data=folder)
    token = make_token(settings.token_file)
    store = open_store(folder, "", SystemClock(), asyncio.get_running_loop())
    try:
        await store.know("site")
        yield FakeRuntime(settings, store), token
    finally:
        store.close()


Ask = Callable[[httpx.AsyncClient, FakeRuntime], Awaitable[Any]]


def with_client(folder: Path, ask: Ask, *, authorized: bool = True) -> Any:
    """Run a function with a client of the application; it raises nothing that the application raised."""

    async def run() -> Any:
        async with open_runtime(folder) as (runtime, token):
            transport = httpx.ASGITransport(build_app(runtime), raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {token}"} if authorized else {}
            async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
                return await ask(client, runtime)

    return asyncio.run(run())
