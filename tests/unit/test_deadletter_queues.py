"""The dead letters: listed without PHI, newest first, filtered, page by page; shown whole; replayed with lineage."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from deadletter.queues import Wanted, items, letters, show
from deadletter.replay import Replayer
from engine.errors import Conflict, NotFound, Reply
from engine.model import Answer, Arrival, Delivery, DeliveryState, Finding, Kept, Receipt, Verdict, show_id
from engine.pipeline import accept
from engine.store import queries
from engine.store.sqlite import SqliteStore
from tests import stores
from tests.building import Path_, channel, oru, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")


async def several(store: SqliteStore) -> None:
    await stores.kill(store, await stores.keep_one(store, "1", patient="SECRET"))
    await store.put_aside(await stores.keep_one(store, "2", channel="other"), DeliveryState.HELD, "unmapped")
    await stores.doubt(store, await stores.keep_one(store, "3"))
    await store.keep(stores.held(store, "4"))
    await stores.deliver(store, await stores.keep_one(store, "5"))
    finding = Finding("unmapped", "OBX-3", subject="SECRET", table="loinc")
    await stores.claim(store, await stores.keep_one(store, "6", patient="P6"), finding)


@pytest.mark.parametrize(
    ("wanted", "reasons"),
    [
        (Wanted(), ["no_header", "answer_timeout", "unmapped", "AE 207"]),
        (Wanted(state="held"), ["no_header", "unmapped"]),
        (Wanted(state="dead"), ["AE 207"]),
        (Wanted(state="in doubt"), ["answer_timeout"]),
        (Wanted(channel="other"), ["unmapped"]),
        (Wanted(reason="unmapped"), ["unmapped"]),
        (Wanted(reason="unmapped", channel="lab"), []),
        (Wanted(limit=2), ["no_header", "answer_timeout"]),
    ],
)
def test_the_list(tmp_path: Path, wanted: Wanted, reasons: list[str]) -> None:
    async def work(store: SqliteStore) -> list[str]:
        await several(store)
        found = await store.read(lambda c: letters(c, wanted))
        assert b"SECRET" not in orjson.dumps(found.as_dict())
        return [letter.reason for letter in found.letters]

    assert stores.run(tmp_path, work) == reasons


def test_pages_follow_each_other(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await several(store)
        whole = await store.read(lambda c: letters(c, Wanted()))
        seen, before = [], 0
        while True:
            page = await store.read(lambda c, before=before: letters(c, Wanted(limit=1, before=before)))
            seen += page.letters
            before = page.next
            if not before:
                break
        assert tuple(seen) == whole.letters and len(seen) == 4

    stores.run(tmp_path, work)


def test_open_items_are_counted_and_say_what_they_are_about(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await several(store)
        (item,) = await store.read(lambda c: items(c, store))
        assert (item.code, item.channel, item.count) == ("unmapped", "lab", 1)
        assert item.about["subject"] == "SECRET"
        assert await store.read(lambda c: items(c, store, code="other")) == []

    stores.run(tmp_path, work)


def test_show_explains_every_part_that_stands_still(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await several(store)
        for letter in (await store.read(lambda c: letters(c, Wanted()))).letters:
            shown = await store.read(lambda c, number=letter.id: show(c, None, number))
            assert [reason.code for reason in shown.reasons] == [letter.reason]
            assert shown.as_dict()["reasons"][0]["advice"]
            assert shown.trace.raw is None

    stores.run(tmp_path, work)


# replay


class Successor:
    """A store whose receipts replace a held message."""

    def __init__(self, store: SqliteStore, original: int) -> None:
        self._store = store
        self._original = original

    async def keep(self, receipt: Receipt) -> Kept:
        return await self._store.keep(replace(receipt, original=self._original))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def replayer(line: Path_) -> Replayer:
    async def again(raw: bytes, name: str, original: int) -> Answer:
        ports = replace(line.ports, store=Successor(line.store, original))  # type: ignore[arg-type]
        return await accept(raw, Arrival(name, line.store.now()), line.running, ports)

    return Replayer(line.store, again, line.worker.unblock, "maria")


def on_the_path(folder: Path, story: Any, **more: Any) -> None:
    async def whole() -> None:
        async with path(folder, channel(spec(), **more)) as line:
            await story(line)

    asyncio.run(asyncio.wait_for(whole(), 30))


def test_a_dead_delivery_goes_on_from_its_place_and_then_what_waited(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        outlet = line.worker.outlets["lab", "ehr"]
        outlet.hold("test")
        await line.send(oru("1", order="7"))
        await line.send(oru("2", order="7"))
        (lane,) = outlet.owned.lanes.values()
        first = lane.queue[0]
        await line.store.put_aside(first, DeliveryState.DEAD, "converter_failed")
        line.worker.put_aside(first)
        outlet.unhold("test")
        outlet.pump()
        await line.quiet()
        assert await line.states() == ["dead", "queued"]
        done = await replayer(line).replay(first.id, "mended")
        assert done.as_dict()["delivery"] == show_id(first.id)
        while "queued" in await line.states() or "claimed" in await line.states():
            await asyncio.sleep(0)
        assert line.destinations["ehr"].received == [oru("1", order="7"), oru("2", order="7")]
        await replayer(line).resend(first.id, "they lost it")
        while (await line.states()).count("delivered") < 3:
            await asyncio.sleep(0)
        with pytest.raises(Conflict):
            await replayer(line).replay(first.id, "again")

    on_the_path(tmp_path, story)


def test_a_held_message_enters_the_path_again_once(tmp_path: Path) -> None:
    raw = oru(kind="")

    async def story(line: Path_) -> None:
        assert not (await line.send(raw)).positive
        (number,) = await line.store.read(lambda c: c.execute("SELECT id FROM message").fetchone())
        done = await replayer(line).replay(number, "a try")
        assert done.message not in (0, number)
        shown = await line.store.read(lambda c: show(c, line.store, number))
        assert (shown.trace.message.state, shown.trace.message.reason) == ("ended", "replayed")
        assert [row.id for row in shown.trace.successors] == [done.message]
        assert [event.kind for event in shown.trace.events] == ["held", "replay_requested", "replayed"]
        with pytest.raises(Conflict):
            await replayer(line).replay(number, "again")
        assert [row.kind for row in (await line.store.read(lambda c: queries.events(c, done.message)))] == ["held"]
        await replayer(line).end(done.message, "no use")
        with pytest.raises(Conflict):
            await replayer(line).end(done.message, "no use")

    on_the_path(tmp_path, story)


def test_a_message_that_is_not_taken_again_stays_held(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        made = stores.held(store, "1")
        await store.keep(made)

        async def refuse(raw: bytes, name: str, original: int) -> Answer:
            assert (raw, name, original) == (made.raw, "lab", made.id)
            return Answer(Verdict(Reply.ERROR, "channel_not_taking", "the channel is paused"))

        def nothing(delivery: Delivery) -> None:
            raise AssertionError("no delivery was released")

        here = Replayer(store, refuse, nothing, "maria")
        with pytest.raises(Conflict) as refused:
            await here.replay(made.id, "a try")
        assert refused.value.code == "channel_not_taking"
        row = await store.read(partial(queries.message, number=made.id))
        assert row is not None and row.state == "held"
        with pytest.raises(NotFound):
            await here.replay(7, "nothing")

    stores.run(tmp_path, work)
