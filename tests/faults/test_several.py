"""Several processes on PostgreSQL and Redis, under load and under everything that may happen to them.

The promise is always the same, judged by sets of ids (see `ledger`): nothing acknowledged is missing, nothing is
invented, lanes are in order, a repeat has an attempt in doubt, the balance closes. `INTERLOCK_TEST_CHAOS_SECONDS` makes
the random run as long as one likes; its seed is printed when it fails and can be given again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Database
from tests.servers import RedisServer, redis_server
from tests.servers_postgres import PostgresServer, postgres_server

from .engine_child import channel_toml, destination_toml, free_port
from .laboratory import Laboratory, Where, fields_of
from .several import Several, several

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("INTERLOCK_TEST_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("INTERLOCK_TEST_CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
EVERYBODY = ("ingress", "ingress", "worker", "worker", "worker", "web")
PAUSED_PAST_ITS_LEASE = 22.0
"""Seconds: longer than a process may be silent, and another sweeper turn until the others notice."""
PAUSE = 0.05
"""Seconds between two messages of a connection: the oracle looks at each message afterwards, some 3 ms each."""

Story = Callable[[Several, PostgresServer, RedisServer], Awaitable[Any]]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, RedisServer]]:
    with postgres_server(autovacuum="on", autovacuum_naptime="2s") as postgres, redis_server() as redis:
        yield postgres, redis


def tell(
    servers: tuple[PostgresServer, RedisServer], folder: Path, record: Any, story: Story, roles: tuple[str, ...]
) -> Several:
    """Run a site through a story under load, and take the account."""
    postgres, redis = servers
    database = Database(postgres.url, f"site_{folder.name.lower()[-30:].replace('-', '_')}")
    database.make()

    async def whole() -> Several:
        async with several(folder, database, redis.url, roles) as site:
            try:
                await site.start()
                site.open_laboratories(PAUSE)
                await story(site, postgres, redis)
                await site.settle()
                figures = await site.account()
            except BaseException:
                print(f"INTERLOCK_TEST_CHAOS_SEED={SEED}\n{site.logs()}")
                raise
            record("figures", {"group": "several processes", **figures.as_dict()})
            return site

    return asyncio.run(whole())


async def under_load(site: Several, more: int = 100) -> None:
    """Wait until so many more messages of each laboratory were acknowledged."""
    await asyncio.gather(*(laboratory.acknowledged(more) for laboratory in site.laboratories))


def test_whatever_happens_to_the_processes_and_their_servers(
    servers: tuple[PostgresServer, RedisServer], tmp_path: Path, record_property: Any
) -> None:
    async def story(site: Several, postgres: PostgresServer, redis: RedisServer) -> None:
        chance = random.Random(SEED)
        acts = [killed, killed, paused, stopped, flushed, redis_killed, postgres_restarted, postgres_killed, nothing]
        async with asyncio.timeout(SECONDS + 120):
            end = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < end:
                await chance.choice(acts)(site, postgres, redis, chance)
                await under_load(site, 20)

    tell(servers, tmp_path, record_property, story, EVERYBODY)


async def killed(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    """A worker or an ingress dies in the middle of whatever it does, and is started again."""
    engine = chance.choice([*site.of_role("worker"), *site.of_role("ingress")])
    engine.signal(signal.SIGKILL)
    await engine.died()
    site.figures.kills += 1
    assert await engine.start()


async def paused(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    """A worker stands still, sometimes past its lease, and goes on as if nothing had happened."""
    engine = chance.choice(site.of_role("worker"))
    engine.signal(signal.SIGSTOP)
    await asyncio.sleep(chance.choice([1.0, 1.0, PAUSED_PAST_ITS_LEASE]))
    engine.signal(signal.SIGCONT)


async def stopped(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    """A process ends gracefully and is started again: a rolling restart."""
    engine = chance.choice(site.engines)
    assert await engine.stop() == 0, engine.log.read_text()[-2000:]
    assert await engine.start()


async def flushed(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    with redis.client() as client:
        client.flushall()


async def redis_killed(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    await asyncio.to_thread(redis.kill)
    await under_load(site, 20)  # nothing is refused for that
    await asyncio.to_thread(redis.start)


async def postgres_restarted(
    site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random
) -> None:
    await asyncio.to_thread(postgres.restart)


async def postgres_killed(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(chance.choice([0, 3]))
    await asyncio.to_thread(postgres.start)


async def nothing(site: Several, postgres: PostgresServer, redis: RedisServer, chance: random.Random) -> None:
    await asyncio.sleep(1)


def test_without_redis_everything_still_arrives(
    servers: tuple[PostgresServer, RedisServer], tmp_path: Path, record_property: Any
) -> None:
    """Absent from the first message to the last: the sweeper alone finds the lanes."""

    async def story(site: Several, postgres: PostgresServer, redis: RedisServer) -> None:
        await asyncio.to_thread(redis.kill)
        await under_load(site, 200)

    try:
        tell(servers, tmp_path, record_property, story, ("ingress", "worker", "worker"))
    finally:
        servers[1].start()


def test_a_worker_paused_past_its_lease_changes_nothing_any_more(
    servers: tuple[PostgresServer, RedisServer], tmp_path: Path, record_property: Any
) -> None:
    async def story(site: Several, postgres: PostgresServer, redis: RedisServer) -> None:
        await under_load(site)
        first = site.of_role("worker")[0]
        first.signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSED_PAST_ITS_LEASE)
        await under_load(site, 200)  # the other one carries on
        first.signal(signal.SIGCONT)
        await under_load(site, 200)
        async with asyncio.timeout(30):  # it finds out with its next commit
            while "lanes_lost" not in first.log.read_text():
                await asyncio.sleep(0.1)

    tell(servers, tmp_path, record_property, story, ("ingress", "worker", "worker"))


def test_an_application_answer_comes_from_whoever_carries_the_delivery(
    servers: tuple[PostgresServer, RedisServer], tmp_path: Path
) -> None:
    """The ingress asks, a worker in another process is answered, and the sender hears it."""

    async def story(site: Several) -> None:
        destination = destination_toml("ehr", f"mllp://127.0.0.1:{site.mllp.port}", answers="true")
        port = free_port()
        text = channel_toml(
            "direct", destination, listen=f"mllp://127.0.0.1:{port}", kind="order",
            source='answer = "application"\nanswer_within = "20s"\n',
        )  # fmt: skip
        site.engines[0].write_channel("direct", text)
        for engine in site.engines:
            await engine.call("reload")
        site.mllp.answer = "AR"
        negative = Laboratory("D", Where(port), connections=1)
        message = negative.write("DP001", 1)
        line = await negative._connect()
        assert fields_of(await line.ask(message.raw)) == ("AR", message.control)
        site.mllp.answer = "AA"
        message = negative.write("DP002", 1)
        assert fields_of(await line.ask(message.raw)) == ("AA", message.control)
        line.close()

    postgres, redis = servers
    database = Database(postgres.url, "site_application_answers")
    database.make()

    async def whole() -> None:
        async with several(tmp_path, database, redis.url, ("ingress", "worker")) as site:
            await site.start()
            await story(site)

    asyncio.run(whole())
