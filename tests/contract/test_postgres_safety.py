"""What the store on PostgreSQL refuses to start on, whose rows it can see, and a schema that is made once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from engine.errors import Configuration, StoreUnavailable, UnsafeStore
from engine.store.postgres import schema
from engine.store.postgres.connection import PostgresConnection
from engine.store.postgres.safety import UNCOVERED
from engine.store.postgres.store import open_postgres
from engine.store.sqlite import KEY_FILE
from tests import postgres
from tests.conftest import ROOT
from tests.postgres import APP_ROLE, OWNER_ROLE, Database
from tests.servers_postgres import PostgresServer, postgres_server
from tests.stores import SITE
from tests.whole_site import OTHER, make_postgres

NEWEST = schema.scripts()[-1][0]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """PostgreSQL with nothing in it but the schema."""
    at = postgres.database()
    at.empty()
    at.folder = tmp_path
    return at


@contextmanager
def fresh(server: str) -> Iterator[Database]:
    """A database without a schema."""
    at = Database(server, f"interlock_test_{uuid4().hex[:12]}")
    for role in (OWNER_ROLE, APP_ROLE):
        postgres.run(server, postgres.MAKE_ROLES.format(role))
    postgres.run(server, f"CREATE DATABASE {at.name} OWNER {OWNER_ROLE}")
    try:
        yield at
    finally:
        at.drop()


def server_of(at: Database) -> str:
    return at.admin.rpartition("/")[0] + "/postgres"


def start(url: str, folder: Path) -> None:
    """Open the store as a process does, and close it."""

    async def main() -> None:
        store = await open_postgres(url, "", folder / KEY_FILE, "all")
        try:
            await store.know(SITE)
        finally:
            store.close()

    asyncio.run(main())


def refused(url: str, folder: Path, code: str = "unsafe_database") -> str:
    """What a start says and advises."""
    with pytest.raises(UnsafeStore) as raised:
        start(url, folder)
    assert raised.value.code == code
    assert raised.value.advice
    assert not (folder / KEY_FILE).exists() or code != "unsafe_database", "it has written nothing"
    return raised.value.text + " " + raised.value.advice


# settings


@pytest.mark.parametrize("of", ["DATABASE {0}", "ROLE {1} IN DATABASE {0}"])
def test_a_database_or_a_role_that_does_not_wait_for_the_disk_is_refused(
    tmp_path: Path, database: Database, of: str
) -> None:
    of = of.format(database.name, APP_ROLE)
    postgres.run(database.admin, f"ALTER {of} SET synchronous_commit = off")
    try:
        assert "synchronous_commit" in refused(database.url, tmp_path)
    finally:
        postgres.run(database.admin, f"ALTER {of} RESET synchronous_commit")
    start(database.url, tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as made:
        yield made


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_forgets_at_a_power_cut_is_refused(tmp_path: Path, server: PostgresServer, setting: str) -> None:
    server.restart(**{setting: "off"})
    with fresh(server.url) as at:
        schema.migrate(at.owner, APP_ROLE)
        text = refused(at.url, tmp_path)
        assert setting in text
        assert "postgresql.conf" in text
        server.restart(**{setting: "on"})
        start(at.url, tmp_path)


def test_what_was_answered_is_there_after_the_server_was_killed(tmp_path: Path, server: PostgresServer) -> None:
    with fresh(server.url) as at:
        schema.migrate(at.owner, APP_ROLE)
        start(at.url, tmp_path)
        before = at.rows("SELECT hash FROM interlock.chain ORDER BY organization")
        server.kill()
        assert server.processes() == []
        server.start()
        assert at.rows("SELECT hash FROM interlock.chain ORDER BY organization") == before != []
        start(at.url, tmp_path)


# roles


def test_a_superuser_is_refused(tmp_path: Path, database: Database) -> None:
    assert "--app-role" in refused(database.admin, tmp_path)


def test_the_owner_of_the_tables_is_refused(tmp_path: Path, database: Database) -> None:
    assert OWNER_ROLE in refused(database.owner, tmp_path)


@pytest.mark.parametrize("rights", ["BYPASSRLS", "IN ROLE " + OWNER_ROLE])
def test_a_role_that_passes_row_security_is_refused(tmp_path: Path, database: Database, rights: str) -> None:
    role = f"interlock_test_{uuid4().hex[:8]}"
    postgres.run(database.admin, f"CREATE ROLE {role} LOGIN PASSWORD 'synthetic' {rights}")
    try:
        schema.migrate(database.owner, role)
        assert role in refused(database.url.replace(APP_ROLE, role), tmp_path)
    finally:
        postgres.run(database.admin, f"DROP OWNED BY {role}; DROP ROLE {role}")


# keys and versions


def test_a_wrong_key_is_refused(tmp_path: Path, database: Database) -> None:
    start(database.url, tmp_path)
    (tmp_path / KEY_FILE).unlink()
    refused(database.url, tmp_path, "key_missing")
    (tmp_path / KEY_FILE).write_text("A" * 43 + "=\n")
    (tmp_path / KEY_FILE).chmod(0o600)
    assert "INTERLOCK_KEY" in refused(database.url, tmp_path, "wrong_key")


def test_a_schema_of_another_version_is_refused(tmp_path: Path, database: Database) -> None:
    number = NEWEST + 1
    postgres.run(database.owner, f"INSERT INTO interlock.schema_version (number) VALUES ({number})")
    try:
        assert str(number) in refused(database.url, tmp_path, "newer_schema")
    finally:
        postgres.run(database.owner, f"DELETE FROM interlock.schema_version WHERE number = {number}")
    with fresh(server_of(database)) as at:
        assert "interlock migrate schema" in refused(at.url, tmp_path, "older_schema")


# row security


def tenants(at: Database) -> list[str]:
    """Every table, partition or not, whose rows belong to an organization."""
    return [
        row[0]
        for row in at.rows(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a"
            " ON a.attrelid = c.oid AND a.attname = 'organization' WHERE n.nspname = 'interlock'"
            " AND c.relkind IN ('r', 'p') ORDER BY c.relname"
        )
    ]


@contextmanager
def as_application(at: Database, *organizations: str) -> Iterator[PostgresConnection]:
    connection = PostgresConnection(at.url, lambda: organizations)
    try:
        yield connection
    finally:
        connection.close()


def test_row_security_covers_every_table_and_a_new_one_without_it_is_found(tmp_path: Path, database: Database) -> None:
    assert len(tenants(database)) >= 12 + 4 * 4, "partitions among them"
    with as_application(database) as connection:
        assert connection.execute(UNCOVERED).fetchall() == []
        for wrong, mended in (
            ("CREATE TABLE interlock.made (organization text)", "DROP TABLE interlock.made"),
            (
                "ALTER TABLE interlock.message_other NO FORCE ROW LEVEL SECURITY",
                "ALTER TABLE interlock.message_other FORCE ROW LEVEL SECURITY",
            ),
            (
                "ALTER TABLE interlock.item DISABLE ROW LEVEL SECURITY",
                "ALTER TABLE interlock.item ENABLE ROW LEVEL SECURITY",
            ),
        ):
            postgres.run(database.owner, wrong)
            try:
                table = wrong.split()[2].removeprefix("interlock.")
                assert [row[0] for row in connection.execute(UNCOVERED)] == [table]
                assert table in refused(database.url, tmp_path)
            finally:
                postgres.run(database.owner, mended)


def test_nobody_sees_rows_without_naming_their_organization(tmp_path: Path, database: Database) -> None:
    make_postgres(tmp_path)
    everything = {table: database.rows(f"SELECT count(*) FROM interlock.{table}")[0][0] for table in tenants(database)}
    empty = {name for name, count in everything.items() if not count}
    assert all(name[-1].isdigit() or name.endswith("_other") for name in empty), "but for partitions all hold rows"
    with as_application(database) as nobody:
        for table in everything:
            assert nobody.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table
    for one in (SITE, OTHER, f"{SITE},{OTHER}"):
        names = one.split(",")
        with as_application(database, *names) as connection:
            for table, count in everything.items():
                seen = connection.execute(f"SELECT organization, count(*) FROM {table} GROUP BY 1").fetchall()
                assert {row[0] for row in seen} <= set(names), table
                if len(names) == 2:
                    assert sum(row[1] for row in seen) == count, table


def test_what_is_named_ends_with_the_transaction(tmp_path: Path, database: Database) -> None:
    make_postgres(tmp_path)
    with as_application(database) as connection:
        connection.begin_for((SITE,))
        assert connection.execute("SELECT count(*) FROM message").fetchone()[0] > 0
        connection.commit()
        assert connection.execute("SELECT count(*) FROM message").fetchone()[0] == 0


def test_rows_of_another_organization_are_neither_added_nor_changed(tmp_path: Path, database: Database) -> None:
    make_postgres(tmp_path)
    with as_application(database, OTHER) as connection:
        with pytest.raises(StoreUnavailable, match="InsufficientPrivilege"):
            connection.execute("INSERT INTO payload (id, organization, sealed) VALUES (1, ?, '')", (SITE,))
        with pytest.raises(StoreUnavailable, match="InsufficientPrivilege"):
            connection.execute("UPDATE message SET organization = ? WHERE organization = ?", (SITE, OTHER))
        assert connection.execute("UPDATE message SET reason = '' WHERE organization = ?", (SITE,)).rowcount == 0
        assert connection.execute("DELETE FROM payload WHERE organization = ?", (SITE,)).rowcount == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE interlock.event SET body = ''",
        "DELETE FROM interlock.event",
        "TRUNCATE interlock.event",
        "UPDATE interlock.event_subject SET subject = 1",
        "DELETE FROM interlock.event_subject",
        "UPDATE interlock.retired SET count = 0",
        "DELETE FROM interlock.retired",
        "INSERT INTO interlock.schema_version (number) VALUES (99)",
        "CREATE TABLE interlock.mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE interlock.message DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE interlock.message_other DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON interlock.message",
        "DROP TABLE interlock.message",
        "CREATE OR REPLACE FUNCTION interlock.organizations() RETURNS text[] LANGUAGE sql AS $$ SELECT '{}'::text[] $$",
        "SET ROLE " + OWNER_ROLE,
    ],
)
def test_the_application_role_may_not(database: Database, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        postgres.run(database.url, statement)


# migrations of the schema


def command(at: Database, failpoint: str = "") -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    armed = {"INTERLOCK_FAILPOINT": failpoint} if failpoint else {}
    words = ("migrate", "schema", "--app-role", APP_ROLE, "--store", at.owner, "--json")
    return subprocess.Popen(
        [sys.executable, "-m", "engine.cli", *words], env={**clean, "PYTHONPATH": str(ROOT), **armed},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


def version(at: Database) -> Any:
    connection = PostgresConnection(at.owner, lambda: ())
    try:
        return schema.version(connection)
    finally:
        connection.close()


def test_a_schema_that_is_new_enough_is_left_alone(tmp_path: Path, database: Database) -> None:
    make_postgres(tmp_path)
    assert schema.migrate(database.owner, APP_ROLE) == NEWEST
    assert database.rows("SELECT count(*) FROM interlock.message")[0][0] > 0
    start(database.url, tmp_path)


@pytest.mark.parametrize(("point", "left"), [("schema.commit.before:1", 0), ("schema.commit.after:1", 1)])
def test_a_migration_that_was_killed_is_run_again(tmp_path: Path, database: Database, point: str, left: int) -> None:
    with fresh(server_of(database)) as at:
        assert ended(command(at, point))[0] == -signal.SIGKILL
        assert version(at) == left
        status, said = ended(command(at))
        assert status == 0, said
        assert version(at) == NEWEST
        start(at.url, tmp_path)


def test_of_two_migrations_at_once_both_end_well(tmp_path: Path, database: Database) -> None:
    for _ in range(4):
        with fresh(server_of(database)) as at:
            both = [command(at), command(at)]
            ends = [ended(process) for process in both]
            assert [status for status, _ in ends] == [0, 0], ends
            assert version(at) == NEWEST
            start(at.url, tmp_path)
            (tmp_path / KEY_FILE).unlink()


def test_a_role_that_is_no_plain_name_is_refused(database: Database) -> None:
    with pytest.raises(Configuration):
        schema.migrate(database.owner, "x; DROP TABLE message")


# partitions


def test_rows_that_no_month_had_room_for_do_not_stop_a_later_start(tmp_path: Path, database: Database) -> None:
    """A process that ran into a month that had no partition yet, or a clock that was ahead: a start must go on then."""
    with fresh(server_of(database)) as at:
        schema.migrate(at.owner, APP_ROLE)
        last = at.rows("SELECT max(relname) FROM pg_class WHERE relname ~ '^payload_[0-9]{4}_[0-9]{2}$'")[0][0]
        postgres.run(at.owner, f"DROP TABLE interlock.{last}")  # as it was before that month came near
        first = at.rows("SELECT interlock.first_id(date_trunc('month', now()) + interval '2 months 1 day')")[0][0]
        add = f"INSERT INTO interlock.payload (id, organization, sealed) VALUES ({first}, '{SITE}', ''::bytea)"
        postgres.run(at.admin, add)
        start(at.url, tmp_path)
