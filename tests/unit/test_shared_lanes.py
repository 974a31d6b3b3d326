"""Lanes that several processes share: each is carried by one at a time, in order, and nothing is lost between two.

All on PostgreSQL, with real stores and workers of several processes in one loop, and one log of what went out.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deadletter.replay import Replayer
from engine import outlet as outlets
from engine import worker as workers
from engine.balance import balance
from engine.errors import Held, Weight
from engine.model import MICROSECONDS as SECOND
from engine.model import Answer, Converted, Outcome
from engine.ports import Role
from engine.wiring import Channel, Retry, SourceSpec
from tests import postgres, stores
from tests.building import Path_, channel, merge, oru, spec
from tests.sites import TAKEN, Site, send_all, site

pytestmark = [pytest.mark.usefixtures("both_stores"), stores.POSTGRES_ONLY]

TWO_AND_A_DOOR: dict[str, Role] = {"one": "worker", "two": "worker", "door": "ingress"}
"""Two processes that carry, and one that only takes messages."""
IN_ORDER = channel(spec(behind="wait"), kind="message")
PATIENT = re.compile(rb"\rPID\|1\|\|([^^]*)")

Story = Callable[[Site], Awaitable[None]]


def run(folder: Path, story: Story, wiring: Channel = IN_ORDER, seconds: float = 60, **more: Any) -> None:
    """Tell a story of a site; at its end the balance closes."""
    roles = more.pop("roles", TWO_AND_A_DOOR)

    async def whole() -> None:
        async with site(folder, wiring, roles, **more) as made:
            try:
                await story(made)
                assert (await made["one"].store.read(balance)).faults == ()
            except BaseException:
                made.abandon()  # else its end would wait for answers that no longer come
                raise

    asyncio.run(asyncio.wait_for(whole(), seconds))


def patient_of(raw: bytes) -> str:
    found = PATIENT.search(raw)
    assert found is not None
    return found[1].decode()


async def lanes(line: Path_) -> list[tuple[int | None, int | None]]:
    """Who owns each lane, and when it is due."""
    return [(owner, due) for owner, due in await line.rows("SELECT owner, due FROM lane ORDER BY lane")]


# one at a time, in order


def test_a_lane_is_carried_by_one_at_a_time_and_several_by_all(tmp_path: Path) -> None:
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def slow(raw: bytes, carrier: str) -> Outcome:
        under_way[patient_of(raw)] += 1
        most[patient_of(raw)] = max(under_way[patient_of(raw)], most[patient_of(raw)])
        await asyncio.sleep(0.005)
        under_way[patient_of(raw)] -= 1
        return TAKEN

    async def story(made: Site) -> None:
        made.outside.answer = slow
        senders = [made["door"], made["one"], made["two"]]
        await made["one"].send(oru("first", "E"))  # a lane that nobody has is its feeder's
        await made["two"].send(oru("first", "F"))
        await asyncio.gather(
            *(senders[n % 3].send(oru(f"{patient}{n}", patient)) for n in range(24) for patient in "ABCD")
        )
        await made.all_delivered()
        await made.assert_once_and_in_order()
        assert set(most.values()) == {1}
        assert set(made.outside.carriers) == {"one", "two"}

    run(tmp_path, story)


def test_when_both_are_rung_at_once_one_carries_the_lane_and_in_order(tmp_path: Path) -> None:
    async def story(made: Site) -> None:
        messages = [oru(f"{n}") for n in range(40)]
        await asyncio.gather(*(made["door"].send(raw) for raw in messages))
        await asyncio.gather(*(made[name].worker.sharing.take("lab") for name in ("one", "two") for _ in range(3)))
        await made.all_delivered()
        await made.assert_once_and_in_order()
        await made.quiet()
        assert await lanes(made["door"]) == [(None, None)]

    run(tmp_path, story)


def test_a_lane_that_is_fed_while_it_is_released_is_taken_again(tmp_path: Path) -> None:
    async def story(made: Site) -> None:
        one = made["one"].store
        release = one.release
        fed: list[asyncio.Task[Any]] = []

        def after_a_feed(*lane: Any) -> asyncio.Future[list[str]]:
            """What releases the lane is committed only after somebody else fed it."""
            released: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

            async def feed() -> None:
                assert (await made["door"].send(oru(f"during {len(fed)}"))).positive
                released.set_result(await release(*lane))

            if len(fed) < 3:
                fed.append(asyncio.get_running_loop().create_task(feed()))
                return released
            return release(*lane)  # type: ignore[no-any-return]

        one.release = after_a_feed
        for outlet in made["two"].worker.outlets.values():
            outlet.hold("test")
        await made["two"].worker.broker.stop()  # only process one is there to take it
        await made["door"].send(oru("first"))
        await made.outside.has(4)
        await made.all_delivered()
        await made.assert_once_and_in_order()
        assert len(fed) == 3

    run(tmp_path, story)


# merges


@pytest.mark.parametrize("first", ["A", "B"])
@pytest.mark.parametrize("sender", ["door", "one", "two"])
def test_a_merge_across_two_processes_goes_out_between_before_and_after(
    tmp_path: Path, sender: str, first: str
) -> None:
    answers: dict[str, asyncio.Future[Outcome]] = {}

    async def slow(raw: bytes, carrier: str) -> Outcome:
        held = answers.pop(patient_of(raw), None)
        return await held if held is not None else TAKEN

    async def story(made: Site) -> None:
        made.outside.answer = slow
        futures = {patient: asyncio.get_running_loop().create_future() for patient in "AB"}
        answers.update(futures)
        await made["one"].send(oru("A1", "A"))  # who feeds a lane that nobody has carries it
        await made["two"].send(oru("B1", "B"))
        await made.outside.has(2)
        assert made.outside.carriers == ["one", "two"]
        await send_all(made[sender], [oru("A2", "A"), oru("B2", "B"), merge("M", "A", "B"), oru("A3", "A")])
        await made["door"].send(oru("B3", "B"))
        futures[first].set_result(TAKEN)
        await made.outside.has(3)
        await asyncio.sleep(0.05)
        assert merge("M", "A", "B") not in made.outside.received
        futures["A" if first == "B" else "B"].set_result(TAKEN)
        await made.all_delivered()
        await made.assert_once_and_in_order()

    run(tmp_path, story)


@pytest.mark.parametrize("sender", ["door", "one", "two"])
def test_what_follows_a_merge_in_its_other_lane_goes_out(tmp_path: Path, sender: str) -> None:
    async def story(made: Site) -> None:
        await made["one"].send(merge("M", "A", "B"))
        await made.all_delivered()
        await made.quiet()
        await made[sender].send(oru("B1", "B"))
        await made.all_delivered()
        assert made.outside.received == [merge("M", "A", "B"), oru("B1", "B")]

    run(tmp_path, story, seconds=5)


def test_what_is_fed_behind_a_merge_that_waits_for_another_process_stays_behind_it(tmp_path: Path) -> None:
    answers: dict[str, asyncio.Future[Outcome]] = {}

    async def slow(raw: bytes, carrier: str) -> Outcome:
        return await answers[patient_of(raw)] if patient_of(raw) in answers else TAKEN

    async def story(made: Site) -> None:
        made.outside.answer = slow
        answers["B"] = asyncio.get_running_loop().create_future()
        await made["two"].send(oru("B1", "B"))
        await made.outside.has(1)
        await made["one"].send(merge("M", "A", "B"))
        await asyncio.sleep(0.1)
        await made.quiet_but("two")  # process one came to the merge, could not have both lanes, and released its own
        await made["one"].send(oru("A1", "A"))
        await asyncio.sleep(0.1)
        assert made.outside.received == [oru("B1", "B")]
        answers.pop("B").set_result(TAKEN)
        await made.all_delivered()
        await made.assert_once_and_in_order()

    run(tmp_path, story, seconds=10)


# what a person decides


class Unmapped:
    """A conversion that holds what it does not know, until somebody mends the table."""

    def __init__(self, *controls: str) -> None:
        self.unknown = set(controls)

    def __call__(self, parsed: Any, tables: Any, context: Any) -> Converted:
        if parsed.get("MSH-10") in self.unknown:
            raise Held("unmapped", code="unmapped")
        return Converted(parsed.write())


def by_a_person(line: Path_) -> Replayer:
    """A person at a process that carries nothing."""

    async def again(raw: bytes, name: str, original: int) -> Answer:
        raise AssertionError("no message is replayed here")

    return Replayer(line.store, again, line.worker.unblock, "maria")


@pytest.mark.parametrize("behind", ["wait", "order"])
@pytest.mark.parametrize("sender", ["door", "one", "two"])
def test_what_comes_later_waits_behind_a_head_that_is_held(tmp_path: Path, sender: str, behind: str) -> None:
    async def story(made: Site) -> None:
        await made["one"].send(oru("1", order="X"))
        await made.until("held")
        await made.quiet()  # the lane has been released: nobody remembers what stands in it
        await made[sender].send(oru("2", order="X"))
        await asyncio.sleep(0.05)
        await made.quiet()
        assert await made["door"].states() == ["held", "queued"]

    wiring = channel(spec(convert="x:y", behind=behind), kind="message")
    run(tmp_path, story, wiring, converters={"ehr": Unmapped("1")})


def test_a_replay_through_another_process_lets_a_held_head_go_on_and_then_what_waits(tmp_path: Path) -> None:
    table = Unmapped("1")

    async def story(made: Site) -> None:
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].hold("test")
        await send_all(made["door"], [oru("1"), oru("2"), oru("3")])
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].unhold("test")
        await made.until("held", "queued", "queued")
        await made.quiet()
        assert made.outside.received == []
        table.unknown.clear()
        ((number,),) = await made["door"].rows("SELECT id FROM delivery WHERE state = 'held'")
        await by_a_person(made["door"]).replay(number, "the table was mended")
        await made.all_delivered()
        assert made.outside.received == [oru("1"), oru("2"), oru("3")]

    run(tmp_path, story, channel(spec(convert="x:y", behind="wait"), kind="message"), converters={"ehr": table})


def test_a_replay_while_another_process_carries_the_lane_is_seen_when_it_lets_go(tmp_path: Path) -> None:
    table = Unmapped("1")

    async def story(made: Site) -> None:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        async def slow(raw: bytes, carrier: str) -> Outcome:
            return await answer

        made.outside.answer = slow
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].hold("test")
        await send_all(made["door"], [oru("1", order="X"), oru("2", order="Y"), oru("3", order="X")])
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].unhold("test")
        await made.outside.has(1)  # the second one: it is of another order
        table.unknown.clear()
        ((number,),) = await made["door"].rows("SELECT id FROM delivery WHERE state = 'held'")
        await by_a_person(made["door"]).replay(number, "the table was mended")
        await asyncio.sleep(0.05)
        assert len(made.outside.received) == 1
        answer.set_result(TAKEN)
        await made.all_delivered()
        assert made.outside.received == [oru("2", order="Y"), oru("1", order="X"), oru("3", order="X")]

    run(tmp_path, story, channel(spec(convert="x:y", behind="order"), kind="message"), converters={"ehr": table})


# processes that are gone, or were taken for it


class Counting:
    """A conversion whose output differs each time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, parsed: Any, tables: Any, context: Any) -> Converted:
        self.calls += 1
        return Converted(b"output %d of %b" % (self.calls, parsed.get("MSH-10").encode()))


async def carried_by_one(made: Site, *messages: bytes) -> dict[str, asyncio.Future[Outcome]]:
    """Messages of one lane that process one carries, and whose answers wait for the test, by carrier."""
    loop = asyncio.get_running_loop()
    answers = {"one": loop.create_future(), "two": loop.create_future()}

    async def told(raw: bytes, carrier: str) -> Outcome:
        return await answers[carrier]

    made.outside.answer = told
    await send_all(made["one"], messages)
    await made.outside.has(1)
    assert made.outside.carriers == ["one"]
    return answers


async def bury(made: Site, name: str, by: str) -> None:
    """The others take a process for one that is gone, though it goes on."""
    await asyncio.to_thread(postgres.end_lease, made[name].store)
    await made[by].store.attend()
    await made[by].worker.sharing.take("lab")


def test_who_is_taken_for_gone_loses_its_lanes_and_its_late_outcome_is_evidence_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STORE_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(outlets, "STORE_PAUSE_SECONDS", 0.01)

    async def story(made: Site) -> None:
        answers = await carried_by_one(made, oru("1"), oru("2"))
        before = made["one"].store.epoch
        await bury(made, "one", by="two")
        await made.outside.has(2)
        assert made.outside.carriers == ["one", "two"]
        assert made.outside.received == [b"output 1 of 1"] * 2  # in doubt: the same bytes once more
        assert [sending.resend for sending in made.outside.sendings] == [False, True]
        answers["one"].set_result(Outcome("AA late", level="application"))
        query = "SELECT outcome, code FROM attempt ORDER BY id"
        while (await made["door"].rows(query))[0] != ("taken", "AA late"):
            await asyncio.sleep(0.005)
        assert await made["door"].states() == ["claimed", "queued"]  # it changed nothing
        assert made["one"].store.epoch > before
        assert not made["one"].worker.outlets["lab", "ehr"].owned.lanes
        answers["two"].set_result(TAKEN)
        await made.all_delivered()
        assert len(made.outside.received) == 3 and made.outside.received[2].endswith(b"of 2")
        await made["one"].send(oru("3", "Q"))  # it is one of the site's processes again
        await made.all_delivered()
        assert made.outside.carriers[3:] == ["one"]

    wiring = channel(spec(convert="x:y", behind="wait"), kind="message")
    run(tmp_path, story, wiring, converters={"ehr": Counting()})


def test_what_a_killed_process_claimed_is_delivered_once_more_with_the_same_bytes(tmp_path: Path) -> None:
    async def story(made: Site) -> None:
        await carried_by_one(made, oru("1"), oru("2"))
        made.outside.answer = None
        await bury(made, "one", by="two")
        await made.all_delivered()
        assert made.outside.received == [b"output 1 of 1", b"output 1 of 1", b"output 2 of 2"]
        assert made.outside.carriers == ["one", "two", "two"]
        kinds = await made["door"].rows("SELECT outcome FROM attempt ORDER BY id")
        assert kinds == [(None,), ("taken",), ("taken",)]

    wiring = channel(spec(convert="x:y", behind="wait"), kind="message")
    run(tmp_path, forgetting_one(story), wiring, converters={"ehr": Counting()})


def test_by_the_policy_hold_what_a_killed_process_claimed_waits_for_a_person(tmp_path: Path) -> None:
    async def story(made: Site) -> None:
        await carried_by_one(made, oru("1"), oru("2"))
        made.outside.answer = None
        await bury(made, "one", by="two")
        await made.until("held", "queued")
        await made.quiet_but("one")
        assert made.outside.received == [oru("1")]
        ((number, reason),) = await made["door"].rows("SELECT id, reason FROM delivery WHERE state = 'held'")
        assert reason == "in_doubt"
        await by_a_person(made["door"]).replay(number, "they did not get it")
        await made.all_delivered()
        assert made.outside.received == [oru("1"), oru("1"), oru("2")]

    run(tmp_path, forgetting_one(story), channel(spec(in_doubt="hold", behind="wait"), kind="message"), 10)


def forgetting_one(story: Story) -> Story:
    """A story in which process one is killed while it sends: nobody ever hears what came of it."""

    async def told(made: Site) -> None:
        made["one"].is_killed = True
        await made["one"].store.read(balance)
        await story(made)
        made.abandon("one")

    return told


# waiting


def test_a_lane_that_waits_long_is_released_and_carried_on_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlets, "KEPT_WAITING_SECONDS", 0.05)

    async def story(made: Site) -> None:
        answers = [Outcome("HTTP 503", Weight.TRANSIENT, retry_after=SECOND // 2)]
        at: list[float] = []

        async def busy_once(raw: bytes, carrier: str) -> Outcome:
            at.append(time.monotonic())
            return answers.pop() if answers else TAKEN

        made.outside.answer = busy_once
        await made["one"].send(oru("1"))
        await made["one"].send(oru("2"))
        while (await lanes(made["door"]))[0][0] is not None:
            await asyncio.sleep(0.005)
        ((_, due),) = await lanes(made["door"])
        assert due is not None and due > made["door"].store.now()
        assert not made["one"].worker.outlets["lab", "ehr"].owned.lanes
        await made["one"].worker.broker.stop()  # its own timer rings for the others, too
        await made["two"].send(oru("3"))  # a feed must not make it go early
        await made.all_delivered()
        assert at[1] - at[0] >= 0.5
        assert made.outside.received == [oru("1"), oru("1"), oru("2"), oru("3")]

    retry = Retry(attempts=3, first=1, cap=SECOND)
    run(tmp_path, story, channel(spec(behind="wait", retry=retry), kind="message"))


# long lanes


@pytest.mark.parametrize("count", [130, 1100])
def test_a_long_lane_keeps_its_order(tmp_path: Path, count: int) -> None:
    async def story(made: Site) -> None:
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].hold("test")
        messages = [oru(f"{n}", "A") for n in range(count)] + [oru(f"B{n}", "B") for n in range(count // 2)]
        messages.insert(count // 2, merge("M", "A", "B"))
        for start in range(0, len(messages), 50):
            await asyncio.gather(*(made["door"].send(raw) for raw in messages[start : start + 50]))
        for name in ("one", "two"):
            made[name].worker.outlets["lab", "ehr"].unhold("test")
        await made.outside.has(count // 3)
        await send_all(made["door"], [oru("late A", "A"), oru("late B", "B"), merge("late M", "B", "A")])
        await made["one"].send(oru("last A", "A"))
        await made.all_delivered()
        await made.assert_once_and_in_order()

    run(tmp_path, story, seconds=10 + count / 20)


def test_a_lane_that_stops_in_front_of_a_merge_asks_for_the_other_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not wait there for a lane that nobody brings."""
    monkeypatch.setattr(outlets, "DELIVERIES_AT_ONCE", 1)

    async def story(made: Site) -> None:
        async def slow(raw: bytes, carrier: str) -> Outcome:
            await asyncio.sleep(0.001)
            return TAKEN

        made.outside.answer = slow
        for turn in range(20):
            for name in ("one", "two"):
                made[name].worker.outlets["lab", "ehr"].hold("test")
            a, b = f"A{turn}", f"B{turn}"
            await send_all(
                made["door"], [oru(f"{a} {n}", a) for n in range(3)] + [oru(f"{b} {n}", b) for n in range(4)]
            )
            await send_all(made["door"], [merge(f"M{turn}", b, a), oru(f"late {a}", a)])
            for name in ("two", "one") if turn % 2 else ("one", "two"):
                made[name].worker.outlets["lab", "ehr"].unhold("test")
            await made.all_delivered()
        await made.assert_once_and_in_order()

    run(tmp_path, story, seconds=30)


# nothing is missed


def test_whatever_meets_every_delivery_goes_out_once_and_in_order(tmp_path: Path) -> None:
    """Random schedules for a while: who feeds, who is slow, who rings late, which patients are merged."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    until = time.monotonic() + 15

    async def some_time(raw: bytes, carrier: str) -> Outcome:
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.004)))
        return TAKEN

    async def sender(made: Site, name: str, number: int) -> None:
        line = made[chance.choice(("door", "one", "two"))]
        patient, other = chance.sample("ABC", 2)
        raw = merge(name, patient, other) if chance.random() < 0.08 else oru(name, patient)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(chance.choice((0, 0.001, 0.005)))
        assert (await line.send(raw)).positive

    async def story(made: Site) -> None:
        made.outside.answer = some_time
        rounds = 0
        while time.monotonic() < until:
            await asyncio.gather(*(sender(made, f"{rounds}.{n}", n) for n in range(chance.randrange(1, 12))))
            if chance.random() < 0.3:
                await made.quiet()
            rounds += 1
        await asyncio.wait_for(made.all_delivered(), 20)
        await made.assert_once_and_in_order()
        assert rounds > 20

    try:
        run(tmp_path, story, seconds=40)
    except BaseException:
        print(f"seed {seed}")
        raise


# answers of a destination that another process carries to


def test_the_sender_hears_what_a_destination_said_to_another_process(tmp_path: Path) -> None:
    async def story(made: Site) -> None:
        answer = await made["door"].send(oru("1"))
        assert answer.positive, answer.verdict.code

    source = SourceSpec("memory://in", answer="application", answer_within=SECOND)
    run(tmp_path, story, channel(spec(answers=True), source=source))
