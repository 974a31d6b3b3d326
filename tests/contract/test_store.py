"""The one contract of every store: what is kept, judged, claimed, settled, and what persons do to it.

A store is added by adding its factory to STORES; a factory opens the store of a folder, and again after it was closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.balance import balance
from engine.errors import Conflict, NotFound, Reply, RowRefused, Weight
from engine.model import Attempt, DeliveryState, Finding, MessageState, Outcome, Settlement
from engine.store import acts, backlog, queries, standing
from engine.store.sealing import place
from engine.store.sqlite import SqliteStore
from tests import postgres, stores
from tests.stores import StepClock, claim, deliver, doubt, held, keep, keep_one, kill, receipt, refused, settle

Opened = Callable[[Path, StepClock], AbstractAsyncContextManager[SqliteStore]]
STORES: dict[str, Opened] = {"sqlite": stores.opened, "postgres": postgres.opened}


@pytest.fixture(params=STORES)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Runs parts one after the other, each on the store opened anew; the balance closes after each."""
    clock = StepClock()

    def run(*parts: Callable[[SqliteStore], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            result = None
            for part in parts:
                async with STORES[request.param](tmp_path, clock) as store:
                    result = await part(store)
                    assert (await store.read(balance)).faults == ()
            return result

        return asyncio.run(main())

    return run


# keep


def test_kept_bytes_come_back_also_after_a_restart(play: Callable[..., Any]) -> None:
    made = []

    async def first(store: SqliteStore) -> None:
        made.append(receipt(store, "1"))
        kept = await store.keep(made[0])
        assert kept.state is MessageState.ACCEPTED and kept.verdict == made[0].verdict
        assert [(d.seq, d.destination, d.state) for d in kept.deliveries] == [(1, "ehr", DeliveryState.QUEUED)]

    async def second(store: SqliteStore) -> None:
        assert await store.load("site", made[0].id) == made[0].raw

    play(first, second)


def test_deliveries_are_numbered_without_gaps_over_restarts(play: Callable[..., Any]) -> None:
    async def three(store: SqliteStore) -> list[int]:
        kept = await asyncio.gather(*(keep(store, str(store.ids.next())) for _ in range(3)))
        return [one.deliveries[0].seq for one in kept]

    assert play(three, three) == [4, 5, 6]


def test_the_same_content_is_a_duplicate_also_in_one_commit_and_after_a_restart(play: Callable[..., Any]) -> None:
    async def twice(store: SqliteStore) -> list[MessageState]:
        kept = await asyncio.gather(keep(store, "1"), keep(store, "1"))
        assert kept[0].verdict.message == kept[1].verdict.message
        assert not kept[1].deliveries
        return [one.state for one in kept]

    assert play(twice) == [MessageState.ACCEPTED, MessageState.DUPLICATE]
    assert play(twice) == [MessageState.DUPLICATE, MessageState.DUPLICATE]


def test_a_control_id_with_other_content_is_delivered_unless_its_sender_is_strict(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        await keep(store, "1", text="one")
        assert (await keep(store, "1", text="two")).state is MessageState.ACCEPTED
        strict = await keep(store, "1", text="three", strict=True)
        assert strict.state is MessageState.REFUSED and strict.verdict.reply is Reply.ERROR
        assert not strict.deliveries
        row = await store.read(lambda c: queries.message(c, strict.verdict.message))
        assert row is not None and row.original is not None

    play(work)


def test_a_duplicate_is_one_within_its_window_only(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        await keep(store, "1", window=1_000_000)
        later = receipt(store, "1", window=1_000_000, at=store.now() + 2_000_000)
        assert (await store.keep(later)).state is MessageState.ACCEPTED

    play(work)


def test_where_the_window_is_zero_nothing_is_a_duplicate(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> list[MessageState]:
        first, second = await asyncio.gather(keep(store, "1", window=0), keep(store, "1", window=0))
        return [first.state, second.state, (await keep(store, "1", window=0, strict=True)).state]

    assert play(work) == [MessageState.ACCEPTED] * 3


def test_a_message_without_a_control_id_is_a_duplicate_of_its_content_only(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> list[str]:
        return [(await keep(store, "", text=text, strict=True)).state.value for text in ("one", "two", "one")]

    assert play(work) == ["accepted", "accepted", "duplicate"]


def test_the_latest_answer_to_a_content_is_repeated_among_many(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        await keep(store, "1", text="one", window=1000)
        for number in range(5):
            await keep(store, "1", text=f"other {number}")
        again = await keep(store, "1", text="one", window=1000)
        assert again.state is MessageState.ACCEPTED
        resent = await asyncio.gather(keep(store, "1", text="one"), keep(store, "1", text="other 3"))
        assert [one.state for one in resent] == [MessageState.DUPLICATE] * 2
        assert resent[0].verdict.message == again.verdict.message

    play(work)


def test_a_replay_is_judged_against_all_but_its_original(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = held(store, "1")
        await store.keep(made)
        await keep(store, "1", text="other")
        again = await keep(store, "1", text="repaired", original=made.id, strict=True)
        assert again.state is MessageState.REFUSED and again.verdict.where == "MSH-10"
        row = await store.read(lambda c: queries.message(c, made.id))
        assert row is not None and row.state == "held"

    play(work)


def test_of_a_refused_message_no_byte_is_kept(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = refused(store, "1")
        assert (await store.keep(made)).state is MessageState.REFUSED
        with pytest.raises(NotFound):
            await store.load("site", made.id)

    play(work)


def test_a_merge_has_its_place_in_both_lanes(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        first = await keep_one(store, "1", patient="A")
        second = await keep_one(store, "2", patient="B")
        merge = await keep_one(store, "3", patient="A", merged="B")
        last = await keep_one(store, "4", patient="B")
        assert [one.seq for one in (first, second, merge, last)] == [1, 2, 3, 4]
        assert merge.lane == first.lane and merge.barrier == second.lane
        for lane, wanted in ((first.lane, [first, merge]), (second.lane, [second, merge, last])):
            found = await store.open_of_lane("lab", "ehr", lane, 0, 10)
            assert [one.id for one in found] == [one.id for one in wanted]
        assert [one.id for one in await store.open_of_lane("lab", "ehr", second.lane, second.seq, 1)] == [merge.id]

    play(work)


# claim, settle, put aside


def test_a_claim_seals_its_output_and_is_taken_once(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        attempt = await claim(store, delivery)
        assert await store.load("site", attempt.id, "output") == attempt.output
        delivery.attempt = 0
        again = Attempt(store.ids.next(), delivery, 1, store.now(), b"x", "text/plain", "r1")
        assert not await store.claim(again)
        with pytest.raises(NotFound):
            await store.load("site", again.id, "output")

    play(work)


def test_a_settled_delivery_is_settled_once(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        attempt = await claim(store, delivery)
        assert await settle(store, attempt, DeliveryState.DELIVERED)
        assert not await settle(store, attempt, DeliveryState.DEAD, Outcome("AE", Weight.PERMANENT))
        found = await store.read(lambda c: queries.delivery(c, delivery.id))
        assert found is not None and found.state == "delivered"

    play(work)


def test_a_claim_of_an_earlier_epoch_settles_nothing(play: Callable[..., Any]) -> None:
    left: list[Attempt] = []

    async def crash(store: SqliteStore) -> None:
        left.append(await claim(store, await keep_one(store, "1")))

    async def restart(store: SqliteStore) -> None:
        assert not await settle(store, left[0], DeliveryState.DELIVERED)

    play(crash, restart)


def test_a_retry_sends_a_new_output_and_a_resend_the_stored_one(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        first = await claim(store, delivery)
        await settle(store, first, DeliveryState.IN_DOUBT, Outcome("answer_timeout", Weight.AMBIGUOUS))
        assert await store.sent(delivery) == (first.id, "application/fhir+json", "loinc@1")
        again = Attempt(
            store.ids.next(), delivery, 2, store.now(), first.output, first.content_type, "r1", repeats=first.id
        )
        assert await store.claim(again)
        delivery.attempt = again.id
        assert (await store.sent(delivery))[0] == first.id

    play(work)


def test_what_is_put_aside_keeps_its_place(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        later = await keep_one(store, "2")
        finding = Finding("unmapped", "OBX-3", subject="K", table="loinc")
        assert await store.put_aside(delivery, DeliveryState.HELD, "unmapped", [finding])
        assert not await store.put_aside(delivery, DeliveryState.DEAD, "converter_failed")
        found = await store.open_of_lane("lab", "ehr", delivery.lane, 0, 10)
        assert [(one.id, one.state) for one in found] == [
            (delivery.id, DeliveryState.HELD),
            (later.id, DeliveryState.QUEUED),
        ]

    play(work)


def test_an_open_delivery_is_read_back_whole(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1", merged="P2")
        attempt = await claim(store, delivery)
        await settle(store, attempt, DeliveryState.QUEUED, Outcome("HTTP 503", Weight.TRANSIENT))
        (found,) = await store.open_of_lane("lab", "ehr", delivery.lane, 0, 10)
        delivery.state, delivery.attempts, delivery.raw = DeliveryState.QUEUED, 1, None
        assert found == delivery

    play(work)


# acts


def test_a_dead_delivery_is_replayed_in_its_place_with_fresh_attempts(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        await kill(store, delivery)
        found = await store.act(partial(acts.replay_delivery, number=delivery.id, reason="mended", actor="maria"))
        assert (found.state, found.seq, found.attempts, found.tries) == (DeliveryState.QUEUED, 1, 0, 1)
        await deliver(store, found)
        with pytest.raises(Conflict):
            await store.act(partial(acts.replay_delivery, number=delivery.id, reason="again", actor="maria"))
        events = await store.read(lambda c: queries.events(c, delivery.id))
        assert [(e.kind, e.details) for e in events] == [("dead", ("AE 207",)), ("replayed", ("mended", "maria"))]

    play(work)


@pytest.mark.parametrize("make", [kill, doubt])
def test_a_waiting_delivery_is_ended(play: Callable[..., Any], make: Callable[..., Awaitable[None]]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        await make(store, delivery)
        await store.act(partial(acts.end_delivery, number=delivery.id, reason="sent by fax", actor="maria"))
        assert await store.open_of_lane("lab", "ehr", delivery.lane, 0, 10) == []
        with pytest.raises(Conflict):
            await store.act(partial(acts.end_delivery, number=delivery.id, reason="again", actor="maria"))

    play(work)


def test_what_is_being_sent_cannot_be_ended(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        await claim(store, delivery)
        with pytest.raises(Conflict):
            await store.act(partial(acts.end_delivery, number=delivery.id, reason="stop", actor="maria"))

    play(work)


def test_what_is_still_on_its_way_is_not_resent(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "9")
        with pytest.raises(Conflict):
            new = store.ids.next()
            await store.act(partial(acts.resend_delivery, number=delivery.id, new=new, reason="x", actor="maria"))
        assert (await keep_one(store, "10")).seq == delivery.seq + 1

    play(work)


def test_an_act_that_fails_takes_no_number(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1")
        await deliver(store, delivery)

        def fail(t: Any) -> None:
            acts.resend_delivery(t, delivery.id, store.ids.next(), "half done", "maria")
            raise Conflict("on purpose")

        results = await asyncio.gather(keep(store, "2"), store.act(fail), return_exceptions=True)
        assert isinstance(results[1], Conflict)
        assert (await keep_one(store, "3")).seq == 3

    play(work)


def test_a_resend_leaves_lanes_and_balance_in_order(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        delivery = await keep_one(store, "1", merged="P2")
        await deliver(store, delivery)
        await keep_one(store, "2")
        new = store.ids.next()
        again = await store.act(
            partial(acts.resend_delivery, number=delivery.id, new=new, reason="they lost it", actor="maria")
        )
        assert (again.id, again.message, again.seq, again.barrier) == (new, delivery.message, 3, delivery.barrier)
        row = await store.read(lambda c: queries.delivery(c, new))
        assert row is not None and row.rule == "resent: they lost it"
        assert (await keep_one(store, "3")).seq == 4

    async def restarted(store: SqliteStore) -> None:
        assert (await keep_one(store, "4")).seq == 5

    play(work, restarted)


def test_a_held_message_is_ended_once(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = held(store, "1")
        await store.keep(made)
        await store.act(partial(acts.end_message, number=made.id, reason="no use", actor="maria"))
        with pytest.raises(Conflict):
            await store.act(partial(acts.end_message, number=made.id, reason="no use", actor="maria"))

    play(work)


def test_a_replay_ends_its_original_in_the_same_commit_and_once(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = held(store, "1")
        await store.keep(made)
        again = receipt(store, "1", original=made.id, canonical=made.canonical)
        twice = receipt(store, "1", original=made.id, canonical=b"other")
        first, second = await asyncio.gather(store.keep(again), store.keep(twice))
        assert (first.state, second.state) == (MessageState.ACCEPTED, MessageState.REFUSED)
        assert second.verdict.code == "conflict" and not second.deliveries
        ended = await store.read(lambda c: queries.message(c, made.id))
        assert ended is not None and (ended.state, ended.reason) == ("ended", "replayed")
        successor = await store.read(lambda c: queries.message(c, again.id))
        assert successor is not None and successor.original == made.id
        resent = await store.keep(receipt(store, "1", canonical=made.canonical))
        assert resent.state is MessageState.DUPLICATE and resent.verdict.message == again.id

    play(work)


def test_a_replay_that_is_refused_leaves_its_original_held(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = held(store, "1")
        await store.keep(made)
        await store.keep(refused(store, "1"))
        found = await store.read(lambda c: queries.message(c, made.id))
        assert found is not None and found.state == "held"

    play(work)


def test_an_act_that_fails_leaves_no_trace_beside_those_that_succeed(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        made = held(store, "1")
        await store.keep(made)

        def fail(t: Any) -> None:
            acts.end_message(t, made.id, "half done", "maria")
            raise Conflict("on purpose")

        results = await asyncio.gather(
            store.act(fail),
            keep(store, "2"),
            store.act(partial(acts.request_replay, number=made.id, reason="try", actor="maria")),
            return_exceptions=True,
        )
        assert isinstance(results[0], Conflict) and not isinstance(results[1], BaseException)
        assert results[2] == acts.HeldMessage("site", "lab")
        events = await store.read(lambda c: queries.events(c, made.id))
        assert [event.kind for event in events] == ["held", "replay_requested"]

    play(work)


def test_nothing_of_an_unknown_id(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        for act in (acts.end_delivery, acts.replay_delivery, acts.end_message, acts.close_item):
            with pytest.raises(NotFound):
                await store.act(partial(act, number=7, reason="x", actor="maria"))
        assert await store.read(lambda c: backlog.delivery(c, 7)) is None

    play(work)


def test_a_channels_state_is_the_last_one_set(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        for state in ("paused", "started"):
            await store.act(
                partial(
                    acts.set_channel_state, channel="lab", destination="ehr", state=state, reason="works",
                    actor="maria", organization="site",
                )
            )  # fmt: skip

    async def restarted(store: SqliteStore) -> list[tuple[str, str, str]]:
        return [(c, d, state) for (c, d), state in (await store.read(standing.channel_states)).items()]

    assert play(work, restarted) == [("lab", "ehr", "started")]


def test_an_item_is_counted_and_closed(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        finding = Finding("unmapped", "OBX-3", subject="K", table="loinc")
        for control in "123":
            await claim(store, await keep_one(store, control, patient=control), finding)
        ((number, count),) = await store.read(lambda c: c.execute("SELECT id, count FROM item").fetchall())
        assert count == 3
        await store.act(partial(acts.close_item, number=number, reason="mapped", actor="maria"))
        await claim(store, await keep_one(store, "4", patient="4"), finding)
        assert await store.read(lambda c: c.execute("SELECT count(*) FROM item").fetchone()) == (2,)

    play(work)


def test_a_reused_control_id_is_one_item_a_sender_and_day_and_does_not_name_the_id(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        for text in ("one", "two", "three"):
            await keep(store, "C77", text=text)
        await asyncio.gather(keep(store, "C77", text="four"), keep(store, "C78", text="one"))
        ((number, code, count, sealed),) = await store.read(
            lambda c: c.execute("SELECT id, code, count, sealed FROM item").fetchall()
        )
        assert (code, count) == ("control_id_reused", 3)
        about = store.keys("site").open(sealed, place("site", number, "item"))
        assert b"A B" in about and b"C77" not in about

    play(work)


def test_a_sender_with_bytes_of_no_charset_reuses_its_control_id(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        for text in ("one", "two"):
            made = receipt(store, "1", text=text)
            assert made.identity is not None
            strange = replace(made.identity, sender=("L\udce4B", "NORTH"))
            assert (await store.keep(replace(made, identity=strange))).state is MessageState.ACCEPTED
        assert await store.read(lambda c: c.execute("SELECT count FROM item").fetchall()) == [(1,)]

    play(work)


def test_a_row_that_can_never_be_stored_is_refused_for_good_and_alone(play: Callable[..., Any]) -> None:
    async def work(store: SqliteStore) -> None:
        broken = await claim(store, await keep_one(store, "1"))
        sound = await claim(store, await keep_one(store, "2", patient="P2"))
        ends = [
            store.settle(broken, Settlement(DeliveryState.DELIVERED, "AA", stores.TAKEN, 1 << 70, 1)),
            store.settle(sound, Settlement(DeliveryState.DELIVERED, "AA", stores.TAKEN, store.now(), 1)),
        ]
        refused, settled = await asyncio.gather(*ends, return_exceptions=True)
        assert isinstance(refused, RowRefused) and refused.code == "row_refused"
        assert refused.weight is Weight.PERMANENT and settled is True

    play(work)


@pytest.mark.parametrize("control", ["", "1"])
def test_what_a_message_is_costs_the_same_after_many_of_its_control_id(tmp_path: Path, control: str) -> None:
    async def work(store: SqliteStore) -> None:
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        costs = []
        for number in range(400):
            if number in (10, 399):
                steps = 0
                store._connection.raw.set_progress_handler(step, 10)
            await keep(store, control, text=str(number))
            store._connection.raw.set_progress_handler(None, 0)
            costs.append(steps)
        assert costs[10] > 0
        assert costs[399] <= costs[10] * 2

    stores.run(tmp_path, work)
