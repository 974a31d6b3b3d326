"""The schema on PostgreSQL: numbered migrations, made by its owner; the engine's role may use it and owns nothing.

Invariant: each migration is one transaction with its number, under a lock: a kill leaves the schema before it or after
it, and of two that migrate at once the second finds nothing to do.
"""

from __future__ import annotations

import re
from importlib.resources import files

from engine.errors import Configuration, UnsafeStore
from engine.failpoints import failpoint
from engine.store.postgres.connection import SCHEMA, PostgresConnection

LOCK = "SELECT pg_advisory_lock(726180310)"
"""Held by the connection until it ends."""
VERSION = f"SELECT coalesce(max(number), 0) FROM {SCHEMA}.schema_version"
EXISTS = f"SELECT to_regclass('{SCHEMA}.schema_version') IS NOT NULL"


def scripts() -> list[tuple[int, str]]:
    """Every migration as (number, SQL), in order."""
    folder = files("engine.store") / "migrations" / "postgres"
    named = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), (folder / name).read_text()) for name in named]


def migrate(url: str, app_role: str) -> int:
    """Bring the schema to the newest version as its owner, and give the application role its rights; the version.

    Raises:
        Configuration, StoreUnavailable, UnsafeStore: with what to do next.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", app_role):
        raise Configuration("preparing the application role: its name is no plain lower-case name", code="role")
    connection = PostgresConnection(url, lambda: ())
    try:
        connection.script(LOCK)
        connection.script(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.script(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_version"
            " (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for number, text in scripts():
            _apply(connection, number, text)
        connection.script(_rights(app_role))
        return version(connection)
    finally:
        connection.close()


def _apply(connection: PostgresConnection, number: int, text: str) -> None:
    with connection.transaction():
        if connection.execute(VERSION).fetchone()[0] >= number:
            return
        connection.script(text)
        connection.script(f"INSERT INTO {SCHEMA}.schema_version (number) VALUES ({number})")
        failpoint("schema.commit.before")
    failpoint("schema.commit.after")


def _rights(role: str) -> str:
    return "; ".join(
        (
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}",
            f"REVOKE UPDATE, DELETE ON {SCHEMA}.event, {SCHEMA}.event_subject, {SCHEMA}.retired FROM {role}",
            f"REVOKE INSERT, UPDATE, DELETE ON {SCHEMA}.schema_version FROM {role}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}",
            f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {SCHEMA} FROM PUBLIC",
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {role}",
        )
    )


def version(connection: PostgresConnection) -> int:
    """The schema's version, 0 where there is none."""
    if not connection.execute(EXISTS).fetchone()[0]:
        return 0
    return int(connection.execute(VERSION).fetchone()[0])


def check_version(connection: PostgresConnection) -> None:
    """Refuse a schema of another version than this program's.

    Raises:
        UnsafeStore: with what to do next.
    """
    found, newest = version(connection), scripts()[-1][0]
    if found != newest:
        raise UnsafeStore(
            f"opening PostgreSQL: its schema is version {found}, this program knows {newest}",
            code="newer_schema" if found > newest else "older_schema",
            advice="Run `interlock migrate schema --store URL --app-role NAME` as the schema's owner."
            if found < newest
            else "Start the newer Interlock that made it.",
        )
