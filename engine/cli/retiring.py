"""`interlock retire`: whole months of finished history removed, and kept in the account."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Data, Json, Reason, settings, wrong_use
from engine.cli.output import examples, print_json, say

if TYPE_CHECKING:
    from engine.settings import Settings
    from engine.store.retention import Place, Retired


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=examples(
            "interlock retire --before 2026-05 --dry-run",
            "interlock retire --before 2026-05 --data /var/lib/interlock",
            "interlock retire --before 2026-05 --store postgresql://interlock_owner@db/interlock",
        )
    )(retire)


def retire(
    before: Annotated[str, typer.Option("--before", metavar="MONTH", help="The first month that stays: 2026-05.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    reason: Reason = "",
    store: Annotated[
        str, typer.Option(metavar="URL", help="PostgreSQL, as the schema's owner. [default: INTERLOCK_STORE]")
    ] = "",
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove whole months of finished messages; sums of them stay, so that the balance closes as before.

    Needs no key; a server may run. Nothing goes while anything of that time is open, and the current month and the one
    before it always stay. A command that was killed is given again. Events are not removed.
    """
    from engine.balance import balance
    from engine.control import user_name
    from engine.store.months import read_month
    from engine.store.retention import Order, plan
    from engine.store.retention import retire as remove

    try:
        order = Order(read_month(before), user_name(os.geteuid()), reason)
    except ValueError as error:
        raise wrong_use(f"reading --before: {error}") from None
    chosen = settings(data=data, **({"store": store} if store else {}))
    with _place(chosen) as place:
        if dry_run:
            found = [month for month in plan(place, order, balance) if month.messages or month.deliveries]
        else:
            found = remove(place, order, balance, (lambda _: None) if json else lambda month: say(_line(month)))
    _tell(found, before, dry_run=dry_run, json=json)


def _place(chosen: Settings) -> AbstractContextManager[Place]:
    """The store, as somebody who may remove whole months."""
    from engine.clock import SystemClock
    from engine.store.opening import is_shared
    from engine.store.retiring import open_sqlite

    if is_shared(chosen.store):
        from engine.store.postgres.retention import open_owned  # a site of one process never pays for this import

        return open_owned(chosen.store)
    return open_sqlite(chosen.data, SystemClock())


def _tell(found: list[Retired], before: str, *, dry_run: bool, json: bool) -> None:
    if json:
        months = [{"month": str(m.month), "messages": m.messages, "deliveries": m.deliveries} for m in found]
        print_json({"before": before, "dry_run": dry_run, "retired": months})
    elif not found:
        say(f"there is nothing before {before}")
    elif dry_run:
        for month in found:
            say(_line(month))
        say("Nothing was removed. What a later month still needs would stay.")


def _line(month: Retired) -> str:
    return f"{month.month}: {month.messages} messages, {month.deliveries} deliveries"
