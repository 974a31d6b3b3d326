"""Months of finished history removed on both stores: what goes, what stays, what is refused, the account after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.balance import Balance, balance
from engine.clock import SystemClock
from engine.errors import Configuration, Conflict, InterlockError, NotFound, UnsafeStore
from engine.model import DeliveryState, Finding
from engine.store import acts, retiring, standing
from engine.store.months import Month, month_of, read_month
from engine.store.open_read import open_for_reading
from engine.store.postgres import retention as on_postgres
from engine.store.postgres.connection import PostgresConnection
from engine.store.postgres.safety import UNCOVERED
from engine.store.retention import WRITER, Order, Place, Retired, retire
from engine.store.retiring import open_sqlite
from tests import postgres, stores
from tests.old_months import APRIL, DELIVERIES, MARCH, MAY, MESSAGES, NOW, MonthClock, add_partitions, month, months
from tests.stores import StepClock, claim, deliver, held, keep, keep_one, kill, settle
from tests.unit.cli_help import Cli

pytestmark = pytest.mark.usefixtures("both_stores")

TABLES = ("message", "payload", "delivery", "attempt", "receipt_key", "item")


def made(folder: Path, *more: Callable[[Any, MonthClock], Any]) -> None:
    """A site with three finished months, and what a test adds to it."""
    clock = MonthClock()

    async def work(store: Any) -> None:
        await months(store, clock)
        for add in more:
            await add(store, clock)

    stores.run(folder, work, clock)


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """The store as the command opens it; its time is that of the site's clock."""
    clock = StepClock()
    if stores.CHOSEN == "postgres":
        with on_postgres.open_owned(postgres.database().owner) as opened:
            opened.now = clock.now  # type: ignore[method-assign]
            yield opened
    else:
        with open_sqlite(folder, clock) as opened:
            yield opened


def removed(folder: Path, before: str) -> list[Retired]:
    with place(folder) as at:
        return retire(at, Order(read_month(before), "maria", "a test"), balance)


def no(folder: Path, before: str) -> Conflict:
    """What is said where nothing is removed."""
    was = rows(folder)
    with pytest.raises(Conflict) as raised:
        removed(folder, before)
    assert rows(folder) == was
    assert raised.value.advice
    return raised.value


@contextmanager
def connected(folder: Path) -> Iterator[Any]:
    reader = stores.reading(folder)
    try:
        yield reader.connection
    finally:
        reader.close()


def rows(folder: Path) -> dict[str, int]:
    with connected(folder) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in (*TABLES, "retired")
        }


def taken(folder: Path) -> Balance:
    with connected(folder) as connection:
        return balance(connection)


def ask(folder: Path, query: str) -> list[Any]:
    with connected(folder) as connection:
        return [tuple(row) for row in connection.execute(query)]


def left_before(folder: Path, of: Month) -> dict[str, int]:
    """Rows of ids before a month."""
    return {t: ask(folder, f"SELECT count(*) FROM {t} WHERE id < {of.first_id}")[0][0] for t in TABLES if "_" not in t}


NOTHING = dict.fromkeys(("message", "payload", "delivery", "attempt", "item"), 0)


@pytest.fixture(autouse=True)
def partitions(both_stores: str) -> None:
    """On PostgreSQL the months of the tests have partitions, as those had in which a site ran."""
    if both_stores == "postgres":
        add_partitions()


def parts() -> set[str]:
    found = postgres.database().rows("SELECT relname FROM pg_class WHERE relname ~ '^message_20[0-9_]+$'")
    return {row[0] for row in found}


# what goes


def test_months_go_and_the_account_stays(tmp_path: Path) -> None:
    made(tmp_path)
    before = taken(tmp_path)
    gone = removed(tmp_path, "2024-05")
    assert gone == [Retired(MARCH, MESSAGES, DELIVERIES), Retired(APRIL, MESSAGES, DELIVERIES)]
    after = taken(tmp_path)
    assert (before.faults, after.faults) == ((), ())
    assert [(c.received, c.states) for c in after.channels] == [(c.received, c.states) for c in before.channels]
    assert [(d.accepted, d.states) for d in after.destinations] == [(d.accepted, d.states) for d in before.destinations]
    assert [c.retired for c in after.channels] == [2 * MESSAGES]
    assert [d.retired for d in after.destinations] == [2 * DELIVERIES]
    assert left_before(tmp_path, MAY) == NOTHING
    assert ask(tmp_path, f"SELECT count(*) FROM receipt_key WHERE message < {MAY.first_id}") == [(0,)]
    assert ask(tmp_path, "SELECT count(*) FROM message") == [(MESSAGES + 1,)]


def test_what_stays_is_as_it_was(tmp_path: Path) -> None:
    made(tmp_path)
    query = "SELECT * FROM {0} WHERE id >= {1} ORDER BY id"
    names = [t for t in TABLES if t != "receipt_key"]
    was = [ask(tmp_path, query.format(name, MAY.first_id)) for name in names]
    removed(tmp_path, "2024-05")
    assert [ask(tmp_path, query.format(name, 0)) for name in names] == was
    assert all(was)


def test_the_site_goes_on_and_numbers_go_on(tmp_path: Path) -> None:
    made(tmp_path)
    removed(tmp_path, "2024-05")
    clock = MonthClock()
    clock.to(NOW, 12)
    stores.run(tmp_path, lambda store: keep(store, "a1"), clock)  # long out of its window: a message like any
    found = taken(tmp_path)
    assert found.faults == ()
    assert found.channels[0].received == 3 * MESSAGES + 2
    assert removed(tmp_path, "2024-06") == [Retired(MAY, MESSAGES, DELIVERIES)]
    assert taken(tmp_path).faults == ()


def test_again_there_is_nothing_to_do(tmp_path: Path) -> None:
    made(tmp_path)
    removed(tmp_path, "2024-05")
    links = ask(tmp_path, "SELECT count(*) FROM event")
    assert removed(tmp_path, "2024-05") == []
    assert ask(tmp_path, "SELECT count(*) FROM event") == links


def test_events_stay_and_say_what_was_retired(tmp_path: Path) -> None:
    made(tmp_path)
    was = ask(tmp_path, "SELECT organization, writer, seq, body FROM event")
    removed(tmp_path, "2024-05")
    now = ask(tmp_path, "SELECT organization, writer, seq, body FROM event")
    assert set(was) < set(now)
    said = [(row[0], *event) for row in now if row[1] == WRITER for event in orjson.loads(row[3])]
    assert sorted(said) == [
        (stores.SITE, "retired", 0, str(of), MESSAGES, DELIVERIES, "a test", "maria") for of in (MARCH, APRIL)
    ]


@stores.POSTGRES_ONLY
def test_partitions_go_and_row_security_covers_what_is_left(tmp_path: Path) -> None:
    made(tmp_path)
    assert {"message_2024_03", "message_2024_04", "message_2024_05"} <= parts()
    removed(tmp_path, "2024-05")
    assert "message_2024_05" in parts()
    assert not {"message_2024_03", "message_2024_04"} & parts()
    at = postgres.database()
    assert at.rows("SELECT to_regclass('interlock.retiring_keeps')")[0][0] is None
    connection = PostgresConnection(at.url, lambda: ())
    try:
        assert connection.execute(UNCOVERED).fetchall() == []
        assert connection.execute("SELECT count(*) FROM retired").fetchone()[0] == 0, "it named nobody"
    finally:
        connection.close()


def test_a_message_goes_with_the_last_month_of_what_belongs_to_it(tmp_path: Path) -> None:
    """A night at the end of a month: an attempt, a resend and a duplicate come in the next one."""

    async def night(store: Any, clock: MonthClock) -> None:
        clock.to(APRIL, 29.99)
        late, sent, twice = [await keep_one(store, name, patient=name) for name in ("late", "sent", "twice")]
        await deliver(store, sent)
        await deliver(store, twice)
        attempt = await claim(store, late)
        await settle(store, attempt, DeliveryState.QUEUED, reason="refused")
        clock.to(MAY, 0.1)
        await deliver(store, late)
        await store.act(
            partial(acts.resend_delivery, number=sent.id, new=store.ids.next(), reason="lost", actor="maria")
        )
        query = "SELECT max(id) FROM delivery"
        new = await store.read(lambda c: c.execute(query).fetchone()[0])
        await store.act(partial(acts.end_delivery, number=new, reason="found", actor="maria"))
        await keep(store, "twice", patient="twice")

    clock = MonthClock()
    stores.run(tmp_path, lambda store: months(store, clock, night), clock)
    assert taken(tmp_path).faults == ()
    gone = removed(tmp_path, "2024-05")
    assert gone[1] == Retired(APRIL, MESSAGES, DELIVERIES), "three stay"
    assert taken(tmp_path).faults == ()
    assert left_before(tmp_path, MAY) == {"message": 3, "payload": 6, "delivery": 3, "attempt": 3, "item": 0}
    assert ask(tmp_path, f"SELECT count(*) FROM receipt_key WHERE message < {MAY.first_id}") == [(3,)]
    assert removed(tmp_path, "2024-06") == [Retired(MAY, MESSAGES + 4, DELIVERIES + 4)]
    assert left_before(tmp_path, NOW) == NOTHING
    assert taken(tmp_path).faults == ()


def test_months_without_partitions_go_too(tmp_path: Path) -> None:
    """On PostgreSQL those of a site that was moved there; a month without anything is passed over."""

    async def long_ago(store: Any, clock: MonthClock) -> None:
        clock.to(Month(2022, 12))
        store.ids._last = clock.at  # the ids of a site that was at work then
        await month(store, clock, Month(2022, 12), "z")

    clock = MonthClock()
    stores.run(tmp_path, lambda store: long_ago(store, clock), clock)
    later = MonthClock()
    stores.run(tmp_path, lambda store: months(store, later), later)
    assert removed(tmp_path, "2024-04") == [
        Retired(Month(2022, 12), MESSAGES, DELIVERIES), Retired(MARCH, MESSAGES, DELIVERIES)
    ]  # fmt: skip
    assert taken(tmp_path).faults == ()
    assert left_before(tmp_path, APRIL) == NOTHING


# what is refused


@pytest.mark.parametrize("before", ["2026-09", "2026-10", "2030-01"])
def test_the_current_month_and_the_one_before_it_stay(tmp_path: Path, before: str) -> None:
    made(tmp_path)
    error = no(tmp_path, before)
    assert error.code == "month_recent"
    assert "--before 2026-08" in error.advice
    assert len(removed(tmp_path, "2026-08")) == 3


async def _queued(store: Any) -> None:
    await keep(store, "open")


async def _dead(store: Any) -> None:
    await kill(store, await keep_one(store, "open"))


async def _claimed(store: Any) -> None:
    await claim(store, await keep_one(store, "open"))


async def _doubtful(store: Any) -> None:
    await stores.doubt(store, await keep_one(store, "open"))


async def _held(store: Any) -> None:
    await store.keep(held(store, "open"))


async def _item(store: Any) -> None:
    attempt = await claim(store, await keep_one(store, "open"), Finding("unmapped", subject="open"))
    await settle(store, attempt, DeliveryState.DELIVERED)


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (_queued, "1 deliveries"), (_dead, "1 deliveries"), (_claimed, "1 deliveries"), (_doubtful, "1 deliveries"),
        (_held, "1 held messages"), (_item, "1 items"),
    ],
)  # fmt: skip
def test_a_month_with_something_open_stays(tmp_path: Path, work: Any, what: str) -> None:
    async def add(store: Any, clock: MonthClock) -> None:
        clock.to(APRIL)
        await work(store)

    clock = MonthClock()

    async def site(store: Any) -> None:
        await month(store, clock, MARCH, "a")
        await add(store, clock)
        clock.to(NOW)
        await keep(store, "new")

    stores.run(tmp_path, site, clock)
    error = no(tmp_path, "2024-05")
    assert error.code == "month_open"
    assert what in error.text
    assert "the oldest of 2024-04" in error.text
    assert "interlock search" in error.advice
    assert "--before 2024-04" in error.advice
    assert removed(tmp_path, "2024-04") == [Retired(MARCH, MESSAGES, DELIVERIES)]
    assert taken(tmp_path).faults == ()


@pytest.mark.parametrize(("text", "window"), [('[duplicates]\nwithin = "900d"\n', "900d"), ("x = ", "30d")])
def test_a_month_that_a_window_for_duplicates_reaches_stays(tmp_path: Path, text: str, window: str) -> None:
    async def revise(store: Any, clock: MonthClock) -> None:
        channel = replace(stores.channel(), revision="r9", text=text)
        await store.act(lambda t: standing.record_revision(t, channel))

    made(tmp_path, revise)
    if window == "30d":  # a text that cannot be read: the window that every channel has
        assert len(removed(tmp_path, "2024-05")) == 2
        return
    error = no(tmp_path, "2024-05")
    assert error.code == "month_in_window"
    assert window in error.text
    assert "lab" in error.text
    assert "--before 2024-04" in error.advice


@pytest.mark.parametrize("table", ["message", "payload", "delivery", "attempt"])
def test_an_open_balance_is_not_hidden(tmp_path: Path, table: str) -> None:
    made(tmp_path)
    change(tmp_path, f"DELETE FROM {table} WHERE id = (SELECT min(id) FROM {table})")
    assert no(tmp_path, "2024-05").code == "balance_open"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM message WHERE id = (SELECT max(id) FROM message)",
        "DELETE FROM delivery WHERE id = (SELECT min(id) FROM delivery)",
        "DELETE FROM retired WHERE state = 'delivered'",
        "UPDATE retired SET count = count - 1 WHERE state = 'refused'",
        "UPDATE retired SET numbers = numbers + 1 WHERE state = 'ended'",
        "UPDATE retired SET state = 'lost' WHERE destination = '' AND state = 'refused'",
        "UPDATE retired SET state = 'lost' WHERE destination <> '' AND state = 'ended'",
        "DELETE FROM event WHERE writer = 64",
    ],
)
def test_a_row_that_vanishes_by_hand_still_opens_it(tmp_path: Path, statement: str) -> None:
    made(tmp_path)
    removed(tmp_path, "2024-05")
    change(tmp_path, statement)
    assert taken(tmp_path).open


def change(folder: Path, statement: str) -> None:
    if stores.CHOSEN == "postgres":
        at = postgres.database()
        postgres.run(at.admin, f"SET search_path = interlock; {statement}")
        return
    connection = retiring.connect(folder / retiring.DATABASE)
    try:
        connection.execute(statement)
    finally:
        connection.close()


def test_a_store_that_was_moved_away_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path)
    change(tmp_path, "INSERT INTO site (name, value) VALUES ('moved_to', 'elsewhere')")
    with pytest.raises(UnsafeStore) as raised:
        removed(tmp_path, "2024-05")
    assert raised.value.code == "moved_away"
    assert left_before(tmp_path, MAY) != NOTHING


def changed_meanwhile(folder: Path, statement: str) -> str:
    """The code of what is said when a store changes after it was looked at, and before anything is removed."""

    def change_it(connection: Any) -> Balance:
        change(folder, statement)
        return balance(connection)

    with place(folder) as at, pytest.raises(InterlockError) as raised:
        retire(at, Order(MAY, "maria"), change_it)
    assert left_before(folder, MAY) != NOTHING
    assert ask(folder, "SELECT count(*) FROM retired") == [(0,)]
    return raised.value.code


def test_a_store_that_is_moved_away_meanwhile_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path)
    assert changed_meanwhile(tmp_path, "INSERT INTO site (name, value) VALUES ('moved_to', 'there')") == "moved_away"


@stores.POSTGRES_ONLY
def test_a_month_that_opens_meanwhile_stays(tmp_path: Path) -> None:
    """On SQLite the choice of each batch keeps a message of which something came later."""
    made(tmp_path)
    assert changed_meanwhile(tmp_path, "UPDATE item SET closed_at = NULL") == "month_open"


# beside a running site


def test_beside_a_running_store(tmp_path: Path) -> None:
    """The store that is open goes on, with its own chain of events; what it resends meanwhile stays."""
    clock = MonthClock()

    async def work(store: Any) -> None:
        await months(store, clock)
        gone = await asyncio.to_thread(removed, tmp_path, "2024-05")
        assert len(gone) == 2
        await deliver(store, await keep_one(store, "after"))
        found = await store.read(balance)
        assert found.faults == ()
        assert found.channels[0].received == 3 * MESSAGES + 2

    stores.run(tmp_path, work, clock)
    assert taken(tmp_path).faults == ()


@stores.POSTGRES_ONLY
def test_a_resend_at_the_last_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the sums and the lock a delivery is sent again: the month begins anew, and keeps its message."""
    clock = MonthClock()

    async def work(store: Any) -> None:
        await months(store, clock)
        loop = asyncio.get_running_loop()
        first = "SELECT min(id) FROM delivery WHERE state = 'delivered'"
        number = await store.read(lambda c: c.execute(first).fetchone()[0])
        lock, tries = on_postgres.PostgresPlace._lock, []

        def resent(self: Any, of: Month) -> None:
            tries.append(of)
            if len(tries) == 1:
                act = partial(acts.resend_delivery, number=number, new=store.ids.next(), reason="x", actor="maria")
                asyncio.run_coroutine_threadsafe(store.act(act), loop).result(20)
            lock(self, of)

        monkeypatch.setattr(on_postgres.PostgresPlace, "_lock", resent)
        gone = await asyncio.to_thread(removed, tmp_path, "2024-04")
        assert tries == [MARCH, MARCH]
        assert gone == [Retired(MARCH, MESSAGES - 1, DELIVERIES - 1)], "the duplicate of it is in its month, and goes"
        assert (await store.read(balance)).faults == ()

    stores.run(tmp_path, work, clock)


@stores.POSTGRES_ONLY
def test_a_long_read_delays_it_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    monkeypatch.setattr(on_postgres, "LOCK_TRIES", 2)
    monkeypatch.setattr(on_postgres, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(on_postgres, "LOCK_WAIT", "50ms")
    reading = PostgresConnection(postgres.database().url, lambda: (stores.SITE,), read_only=True)
    try:
        with reading.transaction():
            assert reading.execute("SELECT count(*) FROM message").fetchone()[0] > 0
            assert no(tmp_path, "2024-05").code == "month_in_use"
    finally:
        reading.close()
    assert len(removed(tmp_path, "2024-05")) == 2


@stores.POSTGRES_ONLY
def test_two_at_once(tmp_path: Path) -> None:
    made(tmp_path)
    with place(tmp_path), pytest.raises(Conflict) as raised, place(tmp_path):
        pass
    assert raised.value.code == "month_in_use"


@stores.POSTGRES_ONLY
def test_the_role_of_the_engine_may_not(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(Configuration) as raised, on_postgres.open_owned(postgres.database().url):
        pass
    assert raised.value.code == "role"


@stores.SQLITE_ONLY
def test_batches_are_commits_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retiring, "BATCH", 2)
    made(tmp_path)
    assert removed(tmp_path, "2024-05") == [
        Retired(MARCH, MESSAGES, DELIVERIES), Retired(APRIL, MESSAGES, DELIVERIES)
    ]  # fmt: skip
    assert ask(tmp_path, f"SELECT count(*) FROM event WHERE writer = {WRITER}") == [(8,)]
    assert taken(tmp_path).faults == ()


@stores.SQLITE_ONLY
def test_a_folder_without_a_store_and_one_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(NotFound), open_sqlite(tmp_path, SystemClock()):
        pass
    made(tmp_path)
    change(tmp_path, "PRAGMA user_version = 1")
    with pytest.raises(UnsafeStore), open_sqlite(tmp_path, SystemClock()):
        pass
    with pytest.raises(UnsafeStore):
        open_for_reading(tmp_path, "")


# the command


def words(folder: Path) -> tuple[str, ...]:
    return ("--store", postgres.database().owner) if stores.CHOSEN == "postgres" else ("--data", str(folder))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    cli = Cli(capsys)
    was = rows(tmp_path)
    dry = cli("retire", "--before", "2024-05", "--dry-run", "--json", *words(tmp_path))
    assert dry.status == 0, dry.err
    each = [{"month": str(of), "messages": MESSAGES, "deliveries": DELIVERIES} for of in (MARCH, APRIL)]
    assert dry.json == {"before": "2024-05", "dry_run": True, "retired": each}
    assert "Nothing was removed" in cli("retire", "--before", "2024-05", "--dry-run", *words(tmp_path)).out
    assert rows(tmp_path) == was
    ran = cli("retire", "--before", "2024-04", *words(tmp_path))
    assert (ran.status, ran.out) == (0, f"2024-03: {MESSAGES} messages, {DELIVERIES} deliveries\n")
    assert cli("retire", "--before", "2024-05", "--json", *words(tmp_path)).json["retired"] == each[1:]
    assert "there is nothing" in cli("retire", "--before", "2024-05", *words(tmp_path)).out
    assert taken(tmp_path).faults == ()


@pytest.mark.parametrize("before", ["2026", "2026-13", "2026-5", "may", "1999-01"])
def test_what_is_no_month(tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str) -> None:
    assert Cli(capsys)("retire", "--before", before, "--data", tmp_path).status == 2


# months


def test_months() -> None:
    assert [str(m) for m in (Month(2025, 12).following, Month(2026, 1).previous, MAY.following)] == [
        "2026-01", "2025-12", "2024-06"
    ]  # fmt: skip
    assert month_of(MAY.begins) == MAY
    assert month_of(MAY.begins - 1) == APRIL
    assert read_month("2024-05") == MAY
    assert Month(2025, 12) < Month(2026, 1)


@stores.POSTGRES_ONLY
def test_a_month_begins_where_its_partition_does() -> None:
    query = "SELECT interlock.first_id('2024-05-01T00:00Z')"
    assert postgres.database().rows(query)[0][0] == MAY.first_id
