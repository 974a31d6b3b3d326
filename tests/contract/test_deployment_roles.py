"""deploy/postgres/roles.sql on a real PostgreSQL of its own: the engine's role owns nothing and may do nothing more."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from engine.bench.process import free_port
from tests.conftest import ROOT, missing

OWNER, APPLICATION = "own'er", "application"
SERVER_USER = "postgres"
#: PostgreSQL refuses to run as root
AS_SERVER = ["runuser", "-u", SERVER_USER, "--"] if os.geteuid() == 0 else []

Sql = Callable[..., subprocess.CompletedProcess[str]]


def programs() -> Path:
    """The newest installed PostgreSQL that has psql's `getenv`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    if not found or int(found[-1].parts[-3]) < 15:
        missing("PostgreSQL 15 is not installed: apt-get install postgresql")
    return found[-1].parent


def run(*words: object, stdin: IO[str] | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_SERVER, *map(str, words)],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        cwd="/",  # which the server's user may read
    )


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Path, int]]:
    """A new PostgreSQL with the roles in it: the folder of its socket, and its port."""
    bin = programs()
    folder = Path(tempfile.mkdtemp(prefix="roles-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    if AS_SERVER:
        shutil.chown(folder, SERVER_USER)
    port = free_port()
    try:
        words = ["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", "--username", "postgres"]
        assert (made := run(bin / "initdb", "-D", folder / "db", *words)).returncode == 0, made.stderr
        options = f"-k {folder} -c listen_addresses=127.0.0.1 -p {port} -c synchronous_commit=off"
        start = [bin / "pg_ctl", "-D", folder / "db", "-o", options, "-l", folder / "log", "-w", "start"]
        assert run(*start).returncode == 0, (folder / "log").read_text()
        try:
            yield folder, port
        finally:
            run(bin / "pg_ctl", "-D", folder / "db", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def make_roles(server: tuple[Path, int], **passwords: str) -> subprocess.CompletedProcess[str]:
    folder, port = server
    with (ROOT / "deploy" / "postgres" / "roles.sql").open() as script:
        words = ["psql", "-X", "-q", "-h", folder, "-p", port, "-U", "postgres", "-f", "-"]
        return run(*words, stdin=script, **passwords)


@pytest.fixture(scope="module")
def sql(server: tuple[Path, int]) -> Sql:
    """Runs a statement as one of the two roles, over TCP and with its password."""
    made = make_roles(server, OWNER_PASSWORD=OWNER, APP_PASSWORD=APPLICATION)
    assert (made.returncode, made.stderr) == (0, "")

    def ask(role: str, password: str, statement: str) -> subprocess.CompletedProcess[str]:
        words = [
            "psql",
            "-X",
            "-At",
            "-h",
            "127.0.0.1",
            "-p",
            server[1],
            "-U",
            role,
            "-d",
            "interlock",
            "-c",
            statement,
        ]
        return run(*words, PGPASSWORD=password)

    return ask


def test_without_passwords_nothing_is_made(server: tuple[Path, int], sql: Sql) -> None:
    ran = make_roles(server)
    assert ran.returncode == 3
    assert "syntax error" in ran.stderr  # an unset variable: before the first role, not "already exists"


def test_the_owner_makes_the_schema_and_the_engine_uses_what_it_is_given(sql: Sql) -> None:
    made = sql("interlock_owner", OWNER, "CREATE TABLE kept (n int); GRANT SELECT, INSERT ON kept TO interlock_app")
    assert made.returncode == 0, made.stderr
    assert sql("interlock_app", APPLICATION, "INSERT INTO kept VALUES (1) RETURNING n").stdout.startswith("1\n")
    assert sql("interlock_app", APPLICATION, "DELETE FROM kept").returncode != 0


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE mine (n int)", "CREATE SCHEMA mine", "CREATE ROLE mine", "ALTER ROLE interlock_app BYPASSRLS"],
)
def test_the_engine_makes_nothing(sql: Sql, statement: str) -> None:
    ran = sql("interlock_app", APPLICATION, statement)
    assert ran.returncode != 0
    assert "permission denied" in ran.stderr or "must be superuser" in ran.stderr


def test_no_role_is_more_than_it_must_be(sql: Sql) -> None:
    rights = "rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication"
    ran = sql("interlock_app", APPLICATION, f"SELECT rolname, {rights} FROM pg_roles WHERE rolname LIKE 'interlock%'")
    assert sorted(ran.stdout.split()) == ["interlock_app|f", "interlock_owner|f"]


def test_the_engines_commits_are_durable_whatever_the_servers_default(sql: Sql) -> None:
    assert sql("interlock_app", APPLICATION, "SHOW synchronous_commit").stdout == "on\n"


def test_a_password_is_needed(sql: Sql) -> None:
    assert sql("interlock_app", "wrong", "SELECT 1").returncode != 0
