"""One suite for every broker: what is rung is heard, and nothing else is promised; then what holds over Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from engine.broker import open_broker
from engine.broker.redis import MOST_QUEUED, RUNG_SECONDS
from engine.errors import Configuration
from engine.ports import Broker
from tests.doorbells import BUSY_SECONDS, Ear, becomes, listening, ringing, rung, stopped
from tests.servers import flush, redis_url

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KEYS = {"interlock:interlock", "interlock:interlock.msgs", "interlock:__heartbeats__"}


@pytest.fixture
def server() -> Iterator[str]:
    url = redis_url()
    flush(url)
    yield url
    flush(url)


@pytest.fixture
def client(server: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server, decode_responses=True) as one:
        yield one


@pytest.fixture(params=["local", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "local" if request.param == "local" else str(request.getfixturevalue("server"))


# Every broker.


def test_what_is_rung_is_heard_on_the_loop(url: str) -> None:
    async def main() -> None:
        async with listening(url) as (broker, ear):
            rung(broker, "lab", "pharmacy", "billing")
            await ear.hears("lab", "pharmacy", "billing")
            assert broker.well()

    asyncio.run(main())


def test_a_channel_that_was_heard_can_be_rung_again(url: str) -> None:
    async def main() -> None:
        async with listening(url) as (broker, ear):
            for times in range(1, 6):
                broker.ring("lab")
                await ear.until(lambda heard, times=times: len(heard) >= times)

    asyncio.run(main())


def test_a_channel_rung_from_its_own_ear_is_heard_again(url: str) -> None:
    async def main() -> None:
        broker, ear = open_broker(url), Ear()

        def again(channel: str) -> None:
            ear(channel)
            if len(ear.heard) < 3:
                broker.ring(channel)

        await broker.start(again)
        broker.ring("lab")
        await ear.until(lambda heard: len(heard) >= 3)
        await stopped(broker)

    asyncio.run(main())


def test_many_rings_of_one_channel_are_heard_few_times(url: str) -> None:
    async def main() -> None:
        async with listening(url) as (broker, ear):
            assert rung(broker, *["lab"] * 1000) < BUSY_SECONDS
            await ear.hears("lab")
            await asyncio.sleep(0.4)
            assert len(ear.heard) <= 2

    asyncio.run(main())


def test_a_ring_before_the_start_is_no_error(url: str) -> None:
    async def main() -> None:
        broker, ear = open_broker(url), Ear()
        broker.ring("early")
        await broker.start(ear)
        broker.ring("lab")
        await ear.hears("lab")
        await stopped(broker)

    asyncio.run(main())


def test_after_the_stop_nothing_is_heard_and_stopping_again_is_no_error(url: str) -> None:
    async def main() -> None:
        async with listening(url) as (broker, ear):
            broker.ring("lab")
            await ear.hears("lab")
            broker.ring("late")
            await stopped(broker)
            heard = list(ear.heard)
            broker.ring("later")
            await stopped(broker)
            await ear.silence()
            assert ear.heard == heard

    asyncio.run(main())


def test_a_broker_that_was_never_used_can_be_stopped(url: str) -> None:
    async def main() -> None:
        await stopped(open_broker(url))

    asyncio.run(main())


# Answers.


def test_an_answer_is_heard_by_its_id_on_the_loop(url: str) -> None:
    async def main() -> None:
        async with ringing(url) as broker:
            ear = await hearing(broker)
            broker.answered("0000000000abc")
            broker.answered("0000000000abd")
            await ear.hears("0000000000abc", "0000000000abd")

    asyncio.run(main())


def test_an_answer_is_no_ring_and_a_ring_no_answer(url: str) -> None:
    async def main() -> None:
        async with listening(url) as (broker, rings):
            answers = await hearing(broker)
            broker.answered("0000000000abc")
            broker.ring("lab")
            await rings.hears("lab")
            await answers.hears("0000000000abc")
            assert (rings.heard, answers.heard) == (["lab"], ["0000000000abc"])

    asyncio.run(main())


def test_an_answer_that_nobody_listens_for_is_no_error_and_after_the_stop_none_is_heard(url: str) -> None:
    async def main() -> None:
        broker = open_broker(url)
        broker.answered("0000000000abc")
        ear = await hearing(broker)
        await stopped(broker)
        broker.answered("0000000000abd")
        await ear.silence()
        assert "0000000000abd" not in ear.heard

    asyncio.run(main())


async def hearing(broker: Broker) -> Ear:
    """An ear for a broker's answers, which hears from now on."""
    ear = Ear()
    await broker.hear_answers(ear)
    while not ear.heard:  # over Redis one begins to hear a moment later, and what was told before is lost
        broker.answered("first")
        await asyncio.sleep(0.01)
    told = 0
    while told != len(ear.heard):  # and what was told meanwhile comes, too
        told = len(ear.heard)
        await asyncio.sleep(0.2)
    ear.heard.clear()
    return ear


# URLs.


@pytest.mark.parametrize(
    "url",
    [
        "amqp://:secret@h", "redis:secret", "redis://:secret@h:port/0", "redis://:secret@h/zero", "rediss://[secret/0",
        "redis://h/0?socket_timeout=99", "rediss://h/0?ssl_cert_reqs=none", "redis://h/0?no_such=secret", "unix://?db=1",
        "unix:///x?db=secret", "LOCAL",
    ],
)  # fmt: skip
def test_a_url_of_no_broker_is_refused_with_advice_and_without_its_secret(url: str) -> None:
    with pytest.raises(Configuration) as caught:
        open_broker(url)
    assert "INTERLOCK_BROKER" in caught.value.advice
    assert "secret" not in caught.value.text + caught.value.advice
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ is (
        caught.value.__context__ is not None
    )


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://user:word@h:1/3", "rediss://h:6380/0?ssl_ca_certs=/ca.pem", "unix:///run/r.sock?db=2", ""],
)
def test_a_url_of_a_broker_connects_to_nothing_yet(url: str) -> None:
    assert open_broker(url).well()


def test_one_process_does_not_pay_for_redis() -> None:
    code = "import sys; from engine.broker import open_broker; open_broker(''); sys.exit('dramatiq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Redis.


def test_an_answer_is_heard_by_all_who_listen_for_answers(server: str) -> None:
    async def main() -> None:
        async with ringing(server) as teller, ringing(server) as one, ringing(server) as two:
            ears = [await hearing(one), await hearing(two)]
            for ear in ears:
                ear.heard.clear()
            teller.answered("0000000000abc")
            for ear in ears:
                await ear.hears("0000000000abc")

    asyncio.run(main())


def test_of_answers_nothing_stays_in_redis(server: str, client: redis.Redis) -> None:
    async def main() -> None:
        async with ringing(server) as teller, ringing(server) as broker:
            ear = await hearing(broker)
            for number in range(100):
                teller.answered(f"{number:013}")
            await ear.hears(*(f"{number:013}" for number in range(100)))
            assert set(client.keys()) <= {"interlock:__heartbeats__"}

    asyncio.run(main())


def test_a_process_that_only_rings_is_heard_by_another(server: str) -> None:
    async def main() -> None:
        async with ringing(server) as front, listening(server) as (_, ear):
            front.ring("lab")
            await ear.hears("lab")

    asyncio.run(main())


def test_each_ring_is_heard_by_one_of_those_that_listen(server: str) -> None:
    names = [f"channel-{number}" for number in range(60)]

    async def main() -> None:
        async with ringing(server) as front, listening(server) as (_, one), listening(server) as (_, other):
            rung(front, *names)
            await becomes(lambda: len(one.heard) + len(other.heard) >= len(names))
            await one.silence()
            assert Counter(one.heard + other.heard) == Counter(names)
            assert one.heard and other.heard

    asyncio.run(main())


def test_a_channel_that_nobody_has_heard_is_not_rung_again_before_five_seconds(
    server: str, client: redis.Redis
) -> None:
    async def main() -> None:
        async with ringing(server) as front, ringing(server) as other:
            for _ in range(5):
                rung(front, "lab")
                rung(other, "lab")
                await asyncio.sleep(0.1)
            assert client.llen("interlock:interlock") == 1
            assert 0 < client.pttl("interlock:rung:lab") <= RUNG_SECONDS * 1000

    asyncio.run(main())


def test_the_mark_of_a_ring_is_gone_when_it_is_heard(server: str, client: redis.Redis) -> None:
    async def main() -> None:
        broker, ear, marks = open_broker(server), Ear(), []

        def look(channel: str) -> None:
            marks.append(client.exists("interlock:rung:lab"))
            ear(channel)

        await broker.start(look)
        broker.ring("lab")
        await ear.hears("lab")
        assert marks == [0]
        await stopped(broker)

    asyncio.run(main())


def test_while_nobody_listens_the_queue_stays_bounded(server: str, client: redis.Redis) -> None:
    async def main() -> None:
        async with ringing(server) as front:
            for turn in range(4):
                rung(front, *(f"channel-{turn}-{number}" for number in range(MOST_QUEUED // 2)), f"last-{turn}")
                await becomes(lambda turn=turn: bool(client.exists(f"interlock:rung:last-{turn}")))
        assert client.llen("interlock:interlock") == MOST_QUEUED == client.hlen("interlock:interlock.msgs")

    asyncio.run(main())


def test_redis_holds_channel_names_and_ids_of_brokers_only(server: str, client: redis.Redis) -> None:
    """Everything there is: while a ring waits, and while it is being heard."""

    async def main() -> None:
        async with ringing(server) as front:
            front.ring("lab")
            await becomes(lambda: bool(client.llen("interlock:interlock")))
            _only_names_and_ids(client, "lab")
        broker = open_broker(server)
        seen: list[bool] = []
        delete = broker._carrier.client.delete  # type: ignore[attr-defined]

        def looked(key: str) -> int:
            _only_names_and_ids(client, "lab")
            seen.append(any("__acks__" in key for key in client.scan_iter()))
            return int(delete(key))

        broker._carrier.client.delete = looked  # type: ignore[attr-defined]
        ear = Ear()
        await broker.start(ear)
        await ear.hears("lab")
        await stopped(broker)
        assert seen == [True]

    asyncio.run(main())


def _only_names_and_ids(client: redis.Redis, channel: str) -> None:
    for key in client.scan_iter():
        assert UUID.sub("*", key) in KEYS | {f"interlock:rung:{channel}", "interlock:__acks__.*.interlock"}
    for name, message in client.hgetall("interlock:interlock.msgs").items():
        fields = json.loads(message)
        assert UUID.fullmatch(name) and UUID.fullmatch(fields.pop("message_id"))
        assert isinstance(fields.pop("message_timestamp"), int)
        assert fields.pop("options") == {"redis_message_id": name}
        assert fields == {"queue_name": "interlock", "actor_name": "work", "args": [channel], "kwargs": {}}
    ids = client.lrange("interlock:interlock", 0, -1) + client.zrange("interlock:__heartbeats__", 0, -1)
    acks = [one for key in client.scan_iter("interlock:__acks__*") for one in client.smembers(key)]
    assert all(UUID.fullmatch(one) for one in ids + acks)
    assert client.get(f"interlock:rung:{channel}") in ("", None)


def test_nothing_stays_in_redis_but_the_names_of_live_brokers(server: str, client: redis.Redis) -> None:
    async def main() -> None:
        async with listening(server) as (broker, ear):
            for turn in range(20):
                rung(broker, *(f"channel-{number}" for number in range(10)))
                await ear.until(lambda heard, turn=turn: len(heard) >= 10 * (turn + 1))
            await becomes(lambda: client.keys() == ["interlock:__heartbeats__"])
            assert client.zcard("interlock:__heartbeats__") == 1

    asyncio.run(main())


def test_after_the_stop_no_connection_is_left(server: str, client: redis.Redis) -> None:
    def connected() -> bool:
        return any(one["name"] == "interlock" and one["db"] == number for one in client.client_list())

    number = server.rpartition("/")[2]

    async def main() -> None:
        async with listening(server) as (broker, ear):
            broker.ring("lab")
            await ear.hears("lab")
            assert connected()
        await becomes(lambda: not connected(), seconds=1)

    asyncio.run(main())


STRANGE = [
    {"actor_name": "gone"},
    {"args": [1]},
    {"args": []},
    {"kwargs": {"channel": "x"}},
    {"queue_name": "other"},
    {"options": {"eta": 9e15}},
]


@pytest.mark.parametrize("fields", [*STRANGE, None], ids=str)
def test_what_is_no_ring_is_dropped_and_the_next_one_heard(
    server: str, client: redis.Redis, caplog: pytest.LogCaptureFixture, fields: dict[str, object] | None
) -> None:
    """A dead letter would be kept, and an error would end the thread that listens."""

    async def main() -> None:
        async with listening(server) as (broker, ear):
            _put(client, "strange", b"\x00no json" if fields is None else _message("strange", **fields))
            await becomes(lambda: not client.llen("interlock:interlock"))
            broker.ring("lab")
            await ear.hears("lab")
            assert ear.heard == ["lab"]
            assert not client.keys("*XQ*")

    caplog.set_level(logging.INFO, logger="interlock")
    asyncio.run(main())
    assert not caplog.records


def test_a_ring_that_dramatiq_gives_up_is_no_dead_letter(server: str, client: redis.Redis) -> None:
    async def main() -> None:
        async with ringing(server) as front:
            _put(client, "one", _message("one", args=["lab"]))
            consumer = front._carrier.consume("interlock")  # type: ignore[attr-defined]
            message = next(consumer)
            message.fail()
            consumer.nack(message)
            assert client.keys() == ["interlock:__heartbeats__"]

    asyncio.run(main())


def test_clocks_of_other_machines_decide_nothing(server: str, client: redis.Redis) -> None:
    """A ring from a machine an hour behind is heard; one from an hour ahead, judging all others dead, hurts nobody."""

    async def main() -> None:
        async with listening(server) as (broker, ear):
            for skew in (-3600, 3600):
                _put(client, f"skew{skew}", _message(f"skew{skew}", args=[f"skewed{skew}"], skew=skew))
                await ear.hears(f"skewed{skew}")
            for number in range(20):
                broker.ring(f"channel-{number}")
                _dispatch_an_hour_ahead(broker)
                await ear.hears(f"channel-{number}")

    asyncio.run(main())


def _dispatch_an_hour_ahead(broker: object) -> None:
    """A look from a client whose clock is wrong, with the clearing away of what it thinks dead."""
    carrier = broker._carrier  # type: ignore[attr-defined]
    at = _now() + 3_600_000
    arguments = ["qsize", at, "interlock", "another", 60_000, 60_000, 1, 1000]
    carrier.scripts["dispatch"](keys=["interlock"], args=arguments)


def test_what_dead_processes_left_is_given_back_by_dramatiq(server: str, client: redis.Redis) -> None:
    """Not relied on: it takes a minute, but it is why what they leave does not grow."""

    async def main() -> None:
        for number in range(30):
            _put(client, f"left-{number}", _message(f"left-{number}", args=["lab"]))
            client.lpop("interlock:interlock")
            client.sadd(f"interlock:__acks__.dead-{number}.interlock", f"left-{number}")
            client.zadd("interlock:__heartbeats__", {f"dead-{number}": _now() - 61_000})
        async with listening(server) as (broker, ear):
            broker._carrier.maintenance_chance = 1_000_000  # type: ignore[attr-defined]
            await ear.hears("lab")
            await becomes(lambda: client.keys() == ["interlock:__heartbeats__"])
            await becomes(lambda: client.zcard("interlock:__heartbeats__") == 1)

    asyncio.run(main())


def _now() -> int:
    return int(time.time() * 1000)


def _message(number: str, skew: int = 0, **fields: object) -> bytes:
    message = {
        "queue_name": "interlock", "actor_name": "work", "args": ["strange"], "kwargs": {}, "options": {},
        "message_id": number, "message_timestamp": _now() + skew * 1000, **fields,
    }  # fmt: skip
    message["options"] = {"redis_message_id": number, **message["options"]}  # type: ignore[dict-item]
    return json.dumps(message).encode()


def _put(client: redis.Redis, number: str, message: bytes) -> None:
    client.hset("interlock:interlock.msgs", number, message)
    client.rpush("interlock:interlock", number)
