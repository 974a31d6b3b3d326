"""Search finds by every term and their combinations, page by page, and never walks a table.

How it finds them is read from SQLite's plans, which are the same for every size of a store; PostgreSQL chooses its way
in by what it has counted.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from engine.ids import time_of
from engine.model import DeliveryState
from engine.search import Search, plan, search
from engine.store.sqlite import SqliteStore
from engine.wiring import DAY
from tests import stores
from tests.stores import NOON

pytestmark = pytest.mark.usefixtures("both_stores")

TERMS: dict[str, object] = {
    "since": NOON, "until": NOON + DAY, "channel": "lab", "type": "ORU^R01", "control_id": "3", "patient": "P3",
    "state": "held", "before": (1 << 63) - 1,
}  # fmt: skip
COMBINATIONS = [names for n in range(len(TERMS) + 1) for names in combinations(TERMS, n)]


async def several(store: SqliteStore) -> None:
    for control in "12345":
        await stores.deliver(store, await stores.keep_one(store, control, patient="P" + control))
    await stores.kill(store, await stores.keep_one(store, "6", channel="other"))
    await store.put_aside(await stores.keep_one(store, "7"), DeliveryState.HELD, "unmapped")
    await store.keep(stores.held(store, "8"))


def found(folder: Path, wanted: Search, now: int = NOON + DAY // 2) -> list[str]:
    reader = stores.reading(folder)
    try:
        result = search(reader.connection, reader, wanted, now)
        numbers = [row[0] for row in reader.connection.execute("SELECT id FROM message ORDER BY id")]
        return [str(numbers.index(message.id) + 1) for message in result.messages]
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("wanted", "controls"),
    [
        (Search(), "87654321"),
        (Search(channel="other"), "6"),
        (Search(control_id="3"), "3"),
        (Search(patient="P3"), "3"),
        (Search(patient="P3", channel="other"), ""),
        (Search(state="delivered"), "54321"),
        (Search(state="held"), "87"),
        (Search(state="dead"), "6"),
        (Search(state="dead", channel="lab"), ""),
        (Search(type="ORU", limit=2), "87"),
        (Search(type="OR"), ""),
        (Search(type="ADT"), ""),
        (Search(until=NOON), ""),
    ],
)
def test_it_finds(tmp_path: Path, wanted: Search, controls: str) -> None:
    stores.run(tmp_path, several)
    assert found(tmp_path, wanted) == list(controls)


def test_a_control_id_finds_whatever_came_under_it(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await stores.keep(store, "7", text="one")  # 1
        await stores.keep(store, "7", text="one")  # 2: a duplicate
        await stores.keep(store, "7", text="two")  # 3: taken and flagged
        await stores.keep(store, "7", text="three", strict=True)  # 4: refused
        await stores.keep(store, "7", channel="other")  # 5
        await stores.keep(store, "8")  # 6
        for _ in range(2):
            await stores.keep(store, "7", channel="unjudged", window=0)  # 7 and 8
        made = stores.held(store, "7", channel="repaired")
        await store.keep(made)  # 9
        await stores.keep(store, "7", channel="repaired", original=made.id)  # 10: its replay
        await store.keep(replace(stores.held(store, "7"), identity=None, canonical=b"nothing to read"))  # 11

    stores.run(tmp_path, work)
    assert found(tmp_path, Search(control_id="7")) == ["10", "9", "8", "7", "5", "4", "3", "2", "1"]
    assert found(tmp_path, Search(control_id="7", channel="lab", limit=2)) == ["4", "3"]
    assert found(tmp_path, Search(control_id="9")) == []


@stores.SQLITE_ONLY
def test_by_sqlites_plans_a_control_id_is_the_way_in_whatever_else_is_asked(tmp_path: Path) -> None:
    async def work(store: SqliteStore) -> None:
        await store.know("another")
        await several(store)

    stores.run(tmp_path, work)
    reader = stores.reading(tmp_path)
    for names in COMBINATIONS:
        if "control_id" in names and "state" not in names:
            query, values = plan(reader, Search(**{name: TERMS[name] for name in names}), NOON, 100)  # type: ignore[arg-type]
            steps = [row[3] for row in reader.connection.execute("EXPLAIN QUERY PLAN " + query, values)]
            assert steps[0] == "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)", names
            assert not [step for step in steps if step.startswith("SCAN")], (names, steps)
    reader.close()


def test_without_a_bound_it_looks_at_the_last_day_and_says_so(tmp_path: Path) -> None:
    stores.run(tmp_path, several)
    reader = stores.reading(tmp_path)
    result = search(reader.connection, reader, Search(), NOON + 2 * DAY)
    assert result.messages == () and result.since == NOON + DAY
    assert result.as_dict() == {"since": NOON + DAY, "next": None, "messages": []}
    old = search(reader.connection, reader, Search(control_id="1"), NOON + 2 * DAY)
    assert len(old.messages) == 1 and old.since == 0
    reader.close()


def test_pages_follow_each_other(tmp_path: Path) -> None:
    stores.run(tmp_path, several)
    reader = stores.reading(tmp_path)
    seen, before = [], 0
    while True:
        page = search(reader.connection, reader, Search(limit=3, before=before), NOON + 1000)
        seen += [message.id for message in page.messages]
        before = page.next
        if not before:
            break
    assert len(seen) == 8 and seen == sorted(seen, reverse=True)
    assert time_of(seen[-1]) >= NOON
    reader.close()


@stores.SQLITE_ONLY
@pytest.mark.parametrize("state", ["held", "dead", "delivered", "accepted"])
def test_by_sqlites_plans_no_combination_walks_a_table(tmp_path: Path, state: str) -> None:
    stores.run(tmp_path, several)
    reader = stores.reading(tmp_path)
    for names in COMBINATIONS:
        terms = {name: state if name == "state" else TERMS[name] for name in names}
        query, values = plan(reader, Search(**terms), NOON, 100)  # type: ignore[arg-type]
        steps = [row[3] for row in reader.connection.execute("EXPLAIN QUERY PLAN " + query, values)]
        assert steps
        assert not [step for step in steps if step.startswith("SCAN")], (names, steps)
    reader.close()
