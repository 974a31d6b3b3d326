"""What a PostgreSQL store is refused for: settings that lose what was acknowledged, roles that pass row security."""

from __future__ import annotations

from engine.errors import UnsafeStore
from engine.store.postgres.connection import SCHEMA, PostgresConnection

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
ROLE = "SELECT rolsuper OR rolbypassrls, rolname FROM pg_roles WHERE rolname = current_user"
OWNED = (
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE n.nspname = '{SCHEMA}' AND pg_has_role(current_user, c.relowner, 'MEMBER')"
)
#: Every table whose rows belong to an organization, and that row security does not cover: there must be none.
UNCOVERED = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization' AND NOT a.attisdropped"
    f" WHERE n.nspname = '{SCHEMA}' AND c.relkind IN ('r', 'p')"
    " AND NOT (c.relrowsecurity AND c.relforcerowsecurity"
    " AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)) ORDER BY c.relname"
)


def refuse_unsafe(connection: PostgresConnection) -> None:
    """Look at the server, the role and the catalogue before anything is written.

    Raises:
        UnsafeStore: naming what to change.
    """
    with connection.transaction():
        off = [name for name in DURABLE if connection.execute(f"SHOW {name}").fetchone()[0] == "off"]
        if off:
            raise _unsafe(
                f"it runs with {', '.join(off)} off, so that a power cut loses what was acknowledged",
                f"Switch on {', '.join(off)} in postgresql.conf, or for the database or the role that set it.",
            )
        passes, role = connection.execute(ROLE).fetchone()
        if passes or connection.execute(OWNED).fetchone()[0]:
            raise _unsafe(
                f"the role {role} passes row security: it is a superuser, may bypass it, or owns tables",
                "Connect as the application role that `interlock migrate schema --app-role NAME` prepares.",
            )
        uncovered = [name for (name,) in connection.execute(UNCOVERED)]
        if uncovered:
            raise _unsafe(
                f"row security does not cover {', '.join(uncovered)}",
                "Run `interlock migrate schema` as the schema's owner.",
            )


def _unsafe(text: str, advice: str) -> UnsafeStore:
    return UnsafeStore(f"opening PostgreSQL: {text}", code="unsafe_database", advice=advice)
