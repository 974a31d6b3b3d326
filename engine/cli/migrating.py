"""`interlock migrate schema` and `interlock migrate store`: PostgreSQL made ready, and a site moved to it or back."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from engine.cli.options import Json, wrong_use
from engine.cli.output import error_console, examples, print_json, say
from engine.errors import StoreUnavailable

OWNERS_ADVICE = "See that PostgreSQL runs there, and that the URL names the schema's owner with its password."


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        help="Bring a PostgreSQL store up to date, or move a site from one store to another.",
        epilog=examples(
            "interlock migrate schema --app-role interlock_app",
            "interlock migrate store --from sqlite:/var/lib/interlock --to postgresql://interlock_app@db/interlock",
        ),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(
        epilog=examples(
            "interlock migrate schema --store postgresql://interlock_owner@db/interlock --app-role interlock_app",
            "interlock migrate schema --app-role interlock_app     # the URL is in INTERLOCK_STORE",
        )
    )(schema)
    group.command(
        epilog=examples(
            "interlock migrate store --from sqlite:/var/lib/interlock --to postgresql://interlock_app@db/interlock",
            "interlock migrate store --from postgresql://interlock_app@db/interlock --to sqlite:/var/lib/interlock-2",
        )
    )(store)
    app.add_typer(group, name="migrate")


def schema(
    app_role: Annotated[
        str, typer.Option("--app-role", metavar="NAME", help="The role the engine connects as: it may use the tables.")
    ],
    store: Annotated[
        str, typer.Option(metavar="URL", help="PostgreSQL, as the schema's owner. [default: INTERLOCK_STORE]")
    ] = "",
    json: Json = False,
) -> None:
    """Bring the PostgreSQL schema to the newest version, as its owner; needs no key and no channels.

    Each migration is one transaction: a command that was killed is run again.
    """
    url = store or os.environ.get("INTERLOCK_STORE", "")
    if not url.startswith(("postgresql://", "postgres://")):
        raise wrong_use("no PostgreSQL store is named", "Give --store postgresql://..., or set INTERLOCK_STORE.")
    try:
        before, after = _migrate(url, app_role)
    except StoreUnavailable as error:
        raise StoreUnavailable(error.text, code=error.code, advice=OWNERS_ADVICE) from None
    if json:
        print_json({"before": before, "after": after, "app_role": app_role})
    elif before == after:
        say(f"the schema is version {after}, as it was; {app_role} may use it")
    else:
        say(f"the schema was version {before} and is version {after}; {app_role} may use it")


def _migrate(url: str, app_role: str) -> tuple[int, int]:
    from engine.store.postgres import schema as newest
    from engine.store.postgres.connection import PostgresConnection

    connection = PostgresConnection(url, lambda: ())
    try:
        before = newest.version(connection)
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = ?", (app_role,)).fetchone()
    finally:
        connection.close()
    if known is None:
        advice = f"As an administrator: CREATE ROLE {app_role} LOGIN; see deploy/postgres/roles.sql."
        raise wrong_use(f"there is no role {app_role} on this server", advice)
    return before, newest.migrate(url, app_role)


def store(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store as it is: sqlite:FOLDER or a URL.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="An empty one: sqlite:FOLDER or a URL.")],
    json: Json = False,
) -> None:
    """Move a whole site between SQLite in a data folder and PostgreSQL, with everything that ever happened on it.

    No server may run on either. A command that was killed is run again and goes on. At the end both sides are counted
    and compared; then the old store refuses to serve. The key is that of the site: INTERLOCK_KEY, or the key file in
    the data folder of the two.
    """
    from rich.progress import Progress

    from engine.balance import balance
    from engine.clock import SystemClock
    from engine.store.moving.move import move

    with Progress(console=error_console(), transient=True) as bar:
        task = bar.add_task("moving", total=None)
        moved = move(
            source,
            target,
            os.environ.get("INTERLOCK_KEY", ""),
            SystemClock(),
            balance,
            lambda table, done, of: bar.update(task, completed=done, total=of, description=f"moving {table}"),
        )
    if json:
        document = {"from": moved.source, "to": moved.target, "rows": dict(moved.rows), "moved_before": moved.before}
        print_json(document)
        return
    if moved.before:
        say(f"{moved.target}: the site is here already; an earlier run moved it")
        return
    say(f"{moved.target}: {moved.rows['message']} messages, {moved.rows['delivery']} deliveries; both balances close")
    say(f"{moved.source} no longer serves. Start every process with the same key and this store.")
