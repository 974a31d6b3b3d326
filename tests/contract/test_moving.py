"""A whole site moved from SQLite to PostgreSQL and back: every row, every key, every account is the same on both."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.balance import balance
from engine.clock import SystemClock
from engine.errors import Configuration, Conflict, InterlockError, NotFound, RowRefused, StoreUnavailable, UnsafeStore
from engine.model import MessageState
from engine.store import acts, backlog, migrate
from engine.store.keyring import read_keys
from engine.store.moving import copying, marks, refuse_unfinished
from engine.store.moving.marks import OF_THE_PLACE, Mark, read_mark
from engine.store.moving.move import Moved, move, side_of
from engine.store.moving.tables import TABLES
from engine.store.postgres import schema
from engine.store.postgres.connection import PostgresConnection
from engine.store.sealing import master_key, place
from engine.store.sqlite import DATABASE, KEY_FILE, lock_folder
from engine.store.sqlite_connection import connect
from tests import postgres, stores
from tests.stores import StepClock, keep, keep_one
from tests.unit.cli_help import Cli
from tests.whole_site import (
    OTHER,
    Rows,
    crash_postgres,
    make_postgres,
    make_sqlite,
    on_sqlite,
    postgres_rows,
    sqlite_rows,
)

ONLY_ON_POSTGRES = {"organization", "process", "lane", "schema_version"}
"""Row security asks for organizations by name; processes and lanes are of several machines; SQLite has user_version."""
NEWEST = schema.scripts()[-1][0]
CHAINED = ("event", "chain")
"""Where a finished move adds to what it copied."""


@pytest.fixture
def database(tmp_path: Path) -> postgres.Database:
    """PostgreSQL with nothing in it but the schema, for the key of the folder `a`."""
    at = postgres.database()
    at.empty()
    at.folder = tmp_path / "a"
    return at


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("INTERLOCK_KEY", raising=False)
    return Cli(capsys)


def moved(source: Path | postgres.Database, target: Path | postgres.Database) -> Moved:
    return move(url(source), url(target), "", SystemClock(), balance)


def url(at: Path | postgres.Database) -> str:
    return f"sqlite:{at}" if isinstance(at, Path) else at.url


def with_key(folder: Path, of: Path) -> Path:
    """A new folder with nothing in it but the site's key."""
    folder.mkdir()
    shutil.copy(of / KEY_FILE, folder / KEY_FILE)
    return folder


def account(folder: Path) -> dict[str, object]:
    connection = connect(folder / DATABASE, read_only=True)
    try:
        return balance(connection).as_dict()
    finally:
        connection.close()


def shared_account(at: postgres.Database) -> dict[str, object]:
    connection = PostgresConnection(at.url, lambda: (stores.SITE, OTHER), read_only=True)
    try:
        return balance(connection).as_dict()
    finally:
        connection.close()


def without_the_end(rows: Rows) -> Rows:
    """Without what a finished move adds: the last link of each chain, and its head."""
    last = {(o, w): seq for o, w, seq, _ in rows["chain"]}
    links = [row for row in rows["event"] if last[row[0], row[1]] != row[2] or b'"moved"' not in row[4]]
    return {**rows, "event": links, "chain": []}


def same(before: Rows, after: Rows) -> None:
    """Table by table, but for the event of the move."""
    kept = without_the_end(after)
    for name in before:
        if name != "chain":
            assert before[name] == kept[name], name
    assert len(after["event"]) == len(before["event"]) + len({row[0] for row in after["chain"]})


# there and back


def test_a_site_is_the_same_on_postgresql_and_back_on_sqlite(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_sqlite(a)
    moved(a, database)
    there = postgres_rows(database)
    same(sqlite_rows(a), there)
    assert all(there[table.name] for table in TABLES), "the site has something in every table"
    assert account(a) == shared_account(database)
    moved(database, with_key(b, a))
    same(there, sqlite_rows(b))
    assert account(b) == account(a)
    assert account(b)["faults"] == []


def test_a_site_that_grew_on_postgresql_is_the_same_on_sqlite(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_postgres(a)
    with_key(b, a)
    moved(database, b)
    same(postgres_rows(database), sqlite_rows(b))
    assert account(b) == shared_account(database)
    assert {row[1] for row in sqlite_rows(b)["event"]} > {0}, "the chains of the processes stay theirs"


def test_every_payload_opens_on_both_sides(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_sqlite(a)
    moved(a, database)
    master = master_key("", a / KEY_FILE, may_create=False)
    there = PostgresConnection(database.url, lambda: (stores.SITE, OTHER))
    try:
        opened = payloads(there, master)
    finally:
        there.close()
    moved(database, with_key(b, a))
    here = connect(b / DATABASE)
    try:
        assert payloads(here, master) == opened
    finally:
        here.close()
    assert sum(value.startswith(b"MSH") for value in opened.values()) > 20


def payloads(connection: Any, master: bytes) -> dict[int, bytes]:
    keys = read_keys(connection, master)
    messages = {number for (number,) in connection.execute("SELECT id FROM message")}
    rows = connection.execute("SELECT id, organization, sealed FROM payload").fetchall()
    assert len(rows) > 20
    return {
        number: keys[organization].open(sealed, place(organization, number, _field(number in messages)))
        for number, organization, sealed in rows
    }


def _field(raw: bool) -> str:
    return "raw" if raw else "output"


# it goes on


def test_what_is_open_is_offered_again_on_postgresql(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    moved(a, database)
    flowing = {row[0] for row in sqlite_rows(a)["delivery"] if row[11] == 1}
    merges = {row[0] for row in sqlite_rows(a)["delivery"] if row[11] == 1 and row[7]}

    async def offered() -> dict[int, int]:
        async with postgres.opened(a) as store:
            found: dict[int, int] = {}
            for channel in ("lab", "theirs"):
                for taken in await store.take(channel, 100, ()):
                    assert [d.seq for d in taken.deliveries] == sorted(d.seq for d in taken.deliveries)
                    for delivery in taken.deliveries:
                        found[delivery.id] = found.get(delivery.id, 0) + 1
            return found

    found = asyncio.run(offered())
    assert flowing <= found.keys()
    assert merges
    assert {number for number, lanes in found.items() if lanes == 2} == merges, "a merge stands in two lanes"


def test_what_is_open_is_offered_again_on_sqlite(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_postgres(a)
    moved(database, with_key(b, a))
    flowing = {row[0] for row in postgres_rows(database)["delivery"] if row[11] > 0 and row[3] == "lab"}

    async def offered(store: Any) -> set[int]:
        found = await store.read(lambda c: backlog.open_of_destination(c, "lab", "ehr", (b"", 0), 1000))
        pager = await store.read(lambda c: backlog.open_of_destination(c, "lab", "pager", (b"", 0), 1000))
        return {delivery.id for delivery in (*found, *pager)}

    assert on_sqlite(b, offered) == flowing


def test_numbers_and_ids_and_duplicates_go_on(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_sqlite(a)
    before = sqlite_rows(a)
    last = max(row[6] for row in before["delivery"] if row[3:5] == ("lab", "ehr"))
    moved(a, database)

    async def goes_on(store: Any, seq: int) -> int:
        again = await keep(store, "10", patient="P2")
        assert again.state is MessageState.DUPLICATE
        new = await keep_one(store, f"new{seq}", patient="P50")
        assert new.seq == seq
        await store.know("third")
        assert (await store.read(balance)).faults == ()
        return int(new.id)

    async def on_postgres() -> int:
        async with postgres.opened(a, StepClock()) as store:
            assert await goes_on(store, last + 1) > max(row[0] for row in before["payload"])
            return int(store.epoch)

    epoch = asyncio.run(on_postgres())
    moved(database, with_key(b, a))
    largest = max(row[0] for row in postgres_rows(database)["payload"])

    async def back(store: Any) -> None:
        assert await goes_on(store, last + 2) > largest
        assert store.epoch > epoch

    on_sqlite(b, back)


def test_what_is_sent_again_after_a_move_finds_its_lane(tmp_path: Path, database: postgres.Database) -> None:
    """A lane in which everything had ended must be there for what joins it."""
    a = tmp_path / "a"
    make_sqlite(a)
    rows = sqlite_rows(a)["delivery"]
    alive = {lane for row in rows if row[11] for lane in (row[5], row[7])}
    delivered = next(row for row in rows if row[10] == "delivered" and row[3] == "lab" and row[5] not in alive)
    moved(a, database)

    async def resent() -> list[int]:
        async with postgres.opened(a) as store:
            await store.take("lab", 100, ())  # all that is due
            new = store.ids.next()
            await store.act(lambda t: acts.resend_delivery(t, delivered[0], new, "lost", "maria"))
            found = await store.take("lab", 100, ())
            assert new in [delivery.id for taken in found for delivery in taken.deliveries]
            return [new]

    assert asyncio.run(resent())


def test_what_a_crash_left_claimed_is_in_doubt_before_it_moves(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    claimed = {row[0] for row in sqlite_rows(a)["delivery"] if row[10] == "claimed"}
    assert len(claimed) == 2
    moved(a, database)
    for rows in (sqlite_rows(a), postgres_rows(database)):
        assert {row[0] for row in rows["delivery"] if row[12] == "crash" and row[10] == "in doubt"} == claimed
    events = b"".join(row[4] for row in postgres_rows(database)["event"])
    assert events.count(b'"in_doubt"') >= 2


def test_what_a_killed_process_had_claimed_is_in_doubt_before_it_moves(
    tmp_path: Path, database: postgres.Database
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    crash_postgres(a)
    claimed = {row[0] for row in postgres_rows(database)["delivery"] if row[10] == "claimed"}
    assert len(claimed) == 2
    moved(database, with_key(b, a))
    assert {row[0] for row in sqlite_rows(b)["delivery"] if row[12] == "crash" and row[10] == "in doubt"} == claimed
    same(postgres_rows(database), sqlite_rows(b))


def test_a_move_is_an_event_of_every_organization(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    moved(a, database)
    ends = {row[0]: row[4] for row in postgres_rows(database)["event"] if b'"moved"' in row[4]}
    assert ends == dict.fromkeys((stores.SITE, OTHER), b'[["moved",0,"sqlite","postgresql"]]')


def test_what_was_agreed_moves_and_what_is_of_the_place_does_not(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    moved(a, database)
    facts = {row[0] for row in database.rows("SELECT name FROM interlock.site")}
    assert facts >= {"agreements_in_place", marks.MOVED_FROM}
    assert not facts & {marks.MOVING, marks.MOVED_TO, marks.EPOCH}


def test_an_empty_site_moves(tmp_path: Path, database: postgres.Database) -> None:
    (tmp_path / "a").mkdir()
    on_sqlite(tmp_path / "a", _nothing)
    assert moved(tmp_path / "a", database).rows["message"] == 0


async def _nothing(store: Any) -> None:
    pass


# what refuses


def refused(code: str, work: Callable[[], Any], kind: type[InterlockError] = InterlockError) -> InterlockError:
    with pytest.raises(kind) as raised:
        work()
    assert raised.value.code == code
    assert raised.value.advice
    return raised.value


def refuse_at(at: Path | postgres.Database) -> None:
    """What a start asks."""
    side = side_of(url(at))
    side.open(existing=True)
    try:
        refuse_unfinished(side.connection)
    finally:
        side.close()


def test_a_source_that_was_moved_refuses_to_serve(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_sqlite(a)
    refuse_at(a)
    moved(a, database)
    error = refused("moved_away", lambda: refuse_at(a), UnsafeStore)
    assert database.name in error.text
    assert "synthetic" not in error.text, "no password"
    refuse_at(database)
    moved(database, with_key(b, a))
    refused("moved_away", lambda: refuse_at(database), UnsafeStore)
    refuse_at(b)


@pytest.mark.parametrize("back", [False, True])
def test_a_target_that_is_not_complete_refuses_to_serve(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    source, target = (make_postgres(a), b) if back else (a, database)
    if back:
        with_key(b, a)
    else:
        make_sqlite(a)
    with monkeypatch.context() as broken:
        broken.setattr("engine.store.moving.move._compare", _fail)
        refused("store_unavailable", lambda: moved(source, target), StoreUnavailable)
    refused("unfinished_move", lambda: refuse_at(target), UnsafeStore)
    refuse_at(source)
    moved(source, target)
    refuse_at(target)


def _fail(*_: Any) -> None:
    raise StoreUnavailable("on purpose")


def test_a_source_that_went_on_meanwhile_is_another_one(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    with monkeypatch.context() as broken:
        broken.setattr("engine.store.moving.move._compare", _fail)
        refused("store_unavailable", lambda: moved(a, database))
    on_sqlite(a, _nothing)
    refused("unfinished_move", lambda: moved(a, database), UnsafeStore)


def test_a_target_with_something_in_it_is_refused(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_postgres(a)
    make_sqlite(b)
    refused("target_not_empty", lambda: moved(b, database), Conflict)
    with pytest.raises(UnsafeStore, match="does not belong"):
        moved(database, b)
    shutil.copy(a / KEY_FILE, b / KEY_FILE)
    refused("target_not_empty", lambda: moved(database, b), Conflict)


def test_a_folder_in_use_is_refused(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    lock = lock_folder(a)
    try:
        refused("folder_locked", lambda: moved(a, database), UnsafeStore)
    finally:
        os.close(lock)


@pytest.mark.parametrize("there", ["source", "target"])
def test_a_database_in_use_is_refused(tmp_path: Path, database: postgres.Database, there: str) -> None:
    a, b = tmp_path / "a", tmp_path / "b"

    async def main() -> None:
        async with postgres.opened(a):
            shutil.copytree(a, b)
            ends = (b, database) if there == "target" else (database, b)
            if there == "target":
                make = asyncio.to_thread(make_sqlite, b)
                await make
            with pytest.raises(Conflict) as raised:
                await asyncio.to_thread(moved, *ends)
            assert raised.value.code == "store_in_use"

    a.mkdir()
    asyncio.run(main())


def test_nobody_joins_while_a_move_is_under_way(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    tried = []

    def join_now(*_: Any) -> None:
        with pytest.raises(Exception, match="lock timeout"):
            postgres.run(database.url, "SET lock_timeout = '100ms'; DELETE FROM interlock.process")
        tried.append(True)
        raise StoreUnavailable("on purpose")

    monkeypatch.setattr("engine.store.moving.move._compare", join_now)
    refused("store_unavailable", lambda: moved(a, database))
    assert tried
    postgres.run(database.url, "SET lock_timeout = '100ms'; DELETE FROM interlock.process")


def test_a_lost_lock_ends_a_move_before_it_hands_over(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    make_sqlite(a)

    def cut(*_: Any) -> None:
        postgres.run(
            database.admin,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted"
            " AND relation = 'interlock.process'::regclass",
        )

    with monkeypatch.context() as broken:
        broken.setattr("engine.store.moving.move._compare", cut)
        refused("store_unavailable", lambda: moved(a, database))
    refuse_at(a)
    moved(a, database)


def test_a_move_that_differs_is_not_handed_over(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    original = copying.copy

    def loses_one(*arguments: Any) -> None:
        original(*arguments)
        postgres.run(database.admin, "DELETE FROM interlock.item WHERE id = (SELECT min(id) FROM interlock.item)")

    monkeypatch.setattr("engine.store.moving.move.copy", loses_one)
    error = refused("move_differs", lambda: moved(a, database), Conflict)
    assert "item" in error.text
    refuse_at(a)
    refused("unfinished_move", lambda: refuse_at(database), UnsafeStore)


def test_a_source_whose_balance_is_open_is_not_moved(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    connection = sqlite3.connect(a / DATABASE)
    with connection:
        connection.execute("DELETE FROM message WHERE state = 'filtered'")
    connection.close()
    refused("balance_open", lambda: moved(a, database), Conflict)
    assert database.rows("SELECT count(*) FROM interlock.site")[0][0] == 0


def test_a_row_that_the_target_refuses_is_said_by_its_table(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    connection = sqlite3.connect(a / DATABASE)
    with connection:
        connection.execute("UPDATE message SET type = 'O' || char(0) || 'U' WHERE state = 'filtered'")
    connection.close()
    error = refused("row_refused", lambda: moved(a, database), RowRefused)
    assert "copying message" in error.text


def test_without_its_key_nothing_moves(tmp_path: Path, database: postgres.Database) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    make_sqlite(a)
    moved(a, database)
    refused("key_missing", lambda: moved(database, b), UnsafeStore)
    assert not (b / DATABASE).exists()
    b.mkdir()
    master_key("", b / KEY_FILE, may_create=True)
    refused("wrong_key", lambda: moved(database, b), UnsafeStore)


def test_wrong_ends_are_wrong_use(tmp_path: Path, database: postgres.Database) -> None:
    a = tmp_path / "a"
    refused("no_store", lambda: moved(a, database), NotFound)
    assert not a.exists(), "nothing is made where a source should be"
    for origin, goal in (
        (f"sqlite:{a}", f"sqlite:{a}"),
        (database.url, database.url),
        ("mysql://x", database.url),
        (f"sqlite:{a}", "postgresql://h:port/x"),
        ("sqlite:", database.url),
    ):
        refused("usage", lambda o=origin, g=goal: move(o, g, "", SystemClock(), balance), Configuration)  # type: ignore[misc]


# the copy


def test_large_values_come_in_small_chunks(
    tmp_path: Path, database: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    monkeypatch.setattr(copying, "BYTES", 400)
    monkeypatch.setattr(copying, "ROWS", 5)
    connection = connect(a / DATABASE, read_only=True)
    try:
        for table in TABLES:
            found = list(copying.chunks(connection, table, ()))
            assert all(0 < len(chunk) <= 5 for chunk in found)
            if table.name == "payload":
                assert any(len(chunk) < 5 for chunk in found[:-1]), "the bytes decide"
                assert all(sum(len(row[2]) for row in chunk) <= 400 or len(chunk) == 1 for chunk in found)
            rows = [row for chunk in found for row in chunk]
            assert sorted(rows, key=repr) == sqlite_rows(a)[table.name]
    finally:
        connection.close()


def test_a_mark_comes_back_as_it_was_written(tmp_path: Path) -> None:
    connection = connect(tmp_path / "x.db")
    migrate.to_head(connection)
    mark = Mark("f00d", "receipt_key", (b"\x00\xff", b"", 7))
    mark.write(connection)
    assert read_mark(connection) == mark
    connection.close()


# the schemas


def sqlite_schema() -> dict[str, set[str]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate.to_head(connection)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}
    connection.close()
    return found


def postgres_schema(at: postgres.Database) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in at.rows(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a JOIN pg_class c"
        " ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'interlock'"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped"
    ):
        found.setdefault(table, {})[column] = {"integer": "int"}.get(kind, kind)
    return found


def test_both_schemas_have_the_same_tables_and_columns(database: postgres.Database) -> None:
    there = {name: set(columns) for name, columns in postgres_schema(database).items()}
    assert sqlite_schema() == {name: columns for name, columns in there.items() if name not in ONLY_ON_POSTGRES}


def test_every_table_and_column_is_copied(database: postgres.Database) -> None:
    copied = {table.name: dict(zip(table.columns, table.types, strict=True)) for table in TABLES}
    there = postgres_schema(database)
    assert copied == {name: columns for name, columns in there.items() if name not in {*ONLY_ON_POSTGRES, "site"}}
    assert set(OF_THE_PLACE) >= {"epoch", "moving", "moved_to"}


def test_the_keys_of_the_chunks_are_the_primary_keys(database: postgres.Database) -> None:
    for table in TABLES:
        (row,) = database.rows(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p'"
            f" AND conrelid = 'interlock.{table.name}'::regclass"
        )
        assert tuple(re.findall(r"\w+", row[0].partition("(")[2])) == table.key


# the commands


def test_the_command_moves_a_site(tmp_path: Path, database: postgres.Database, cli: Cli) -> None:
    a = tmp_path / "a"
    make_sqlite(a)
    words = ("migrate", "store", "--from", f"sqlite:{a}", "--to", database.url)
    ran = cli(*words, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["rows"]["message"] == len(sqlite_rows(a)["message"])
    assert ran.json["moved_before"] is False
    assert "synthetic" not in ran.out + ran.err
    again = cli(*words)
    assert again.status == 0
    assert "already" in again.out
    assert cli(*words[:3], f"sqlite:{tmp_path / 'none'}", *words[4:]).status == 1
    assert cli(*words[:5], "mysql://x").status == 2


def test_the_command_makes_the_schema(database: postgres.Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_STORE", database.owner)
    postgres.run(database.owner, "DROP SCHEMA interlock CASCADE; SELECT 1")
    first = cli("migrate", "schema", "--app-role", postgres.APP_ROLE, "--json")
    assert first.json == {"before": 0, "after": NEWEST, "app_role": postgres.APP_ROLE}
    second = cli("migrate", "schema", "--app-role", postgres.APP_ROLE)
    assert second.status == 0
    assert "as it was" in second.out
    assert cli("migrate", "schema", "--app-role", "nobody_there").status == 2
    assert cli("migrate", "schema", "--app-role", "x", "--store", "sqlite:x").status == 2
    wrong = cli("migrate", "schema", "--app-role", "x", "--store", "postgresql://nobody:x@127.0.0.1:1/x", "--json")
    assert wrong.status == 1
    assert "owner" in wrong.json["error"]["advice"]
