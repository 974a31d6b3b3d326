"""Answers of a destination that another process carries to: told over Redis, and found without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from engine import applications
from engine.broker import open_broker
from engine.model import MICROSECONDS as SECOND
from engine.ports import Role
from engine.wiring import SourceSpec
from tests import stores
from tests.building import Path_, channel, oru, path, spec
from tests.doorbells import becomes
from tests.servers import RedisServer, redis_server

pytestmark = [pytest.mark.usefixtures("both_stores"), stores.POSTGRES_ONLY]

SOURCE = SourceSpec("memory://in", answer="application", answer_within=3600 * SECOND)
ROLES: tuple[Role, ...] = ("ingress", "worker")


@asynccontextmanager
async def door_and_worker(folder: Path, server: RedisServer) -> AsyncIterator[tuple[Path_, Path_]]:
    """A process that takes messages and one that carries them: nothing between them but PostgreSQL and Redis."""
    wiring = channel(spec(answers=True), source=SOURCE)
    async with AsyncExitStack() as stack:
        lines = [path(folder, wiring, role=role, broker=open_broker(server.url)) for role in ROLES]
        door, worker = [await stack.enter_async_context(line) for line in lines]
        yield door, worker


def listens(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.pubsub_numsub("interlock:answered:0")[0][1])


def test_the_process_that_carried_tells_the_one_whose_sender_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applications, "LOOK_SECONDS", 3600.0)  # nobody looks unasked

    async def story(server: RedisServer) -> None:
        async with door_and_worker(tmp_path, server) as (door, worker):
            await becomes(lambda: listens(server))
            for number in range(3):
                answer = await door.send(oru(f"{number}"))
                assert answer.positive, answer.verdict.code
            assert len(worker.destinations["ehr"].received) == 3

    with redis_server() as server:
        asyncio.run(asyncio.wait_for(story(server), 20))


def test_after_redis_was_away_answers_are_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "LOOK_SECONDS", 3600.0)

    async def story(server: RedisServer) -> None:
        async with door_and_worker(tmp_path, server) as (door, _):
            await becomes(lambda: listens(server))
            server.kill()
            await asyncio.to_thread(server.start)
            await becomes(lambda: listens(server))
            assert (await door.send(oru("1"))).positive

    with redis_server() as server:
        asyncio.run(asyncio.wait_for(story(server), 20))


def test_without_redis_the_answer_is_found_by_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "LOOK_SECONDS", 0.5)

    async def story(server: RedisServer) -> None:
        async with door_and_worker(tmp_path, server) as (door, worker):
            await becomes(lambda: listens(server))
            server.kill()
            answer = asyncio.create_task(door.send(oru("1")))
            while not worker.destinations["ehr"].received:
                await worker.worker.sharing.take("lab")  # as its sweeper does
                await asyncio.sleep(0.01)
            assert (await answer).positive

    with redis_server() as server:
        asyncio.run(asyncio.wait_for(story(server), 20))
