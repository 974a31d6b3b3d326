"""`interlock search`, `interlock trace` and `interlock balance`: what became of the messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Data, Json, settings, wrong_use
from engine.cli.output import cell, examples, moment, print_json, say, show, table, warn
from engine.errors import Configuration

if TYPE_CHECKING:
    from engine.balance import Balance
    from engine.search import Found

GOOD = frozenset({"accepted", "delivered"})
BAD = frozenset({"held", "dead", "in doubt"})


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        epilog=examples(
            "interlock search --since 2h --state held",
            "interlock search --control-id MSG00001 --json",
            "interlock search --channel northside-lab-results --type ORU --since 2026-01-05T08:00-06:00",
            "interlock search --patient -     # asks for the identifier, so that no history keeps it",
        )
    )(search)
    app.command(
        epilog=examples(
            "interlock trace 0e1xh5w3g2m4a",
            "interlock trace 0e1xh5w3g2m4a --fields     # what came in, field by field with names",
            "interlock trace 0e1xh5w3g2m4a --json --no-payloads",
        )
    )(trace)
    app.command(epilog=examples("interlock balance", "interlock balance --json --data /var/lib/interlock"))(balance)


def search(
    channel: Annotated[str, typer.Option(metavar="NAME", help="Of this channel.")] = "",
    type: Annotated[str, typer.Option("--type", metavar="TYPE", help="ORU^R01, or ORU for all of them.")] = "",
    control_id: Annotated[str, typer.Option(metavar="ID", help="With this control id (MSH-10).")] = "",
    patient: Annotated[
        str, typer.Option(metavar="ID", help="Of the patient with this identifier; - asks for it.")
    ] = "",
    state: Annotated[str, typer.Option(metavar="STATE", help="Of the message or of one of its deliveries.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601, or back from now: 2h, 3d. [default: 1d]")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="As --since.")] = "",
    limit: Annotated[str, typer.Option(metavar="N", help="At most so many.")] = "100",
    before: Annotated[str, typer.Option(metavar="ID", help="The page after: what the last one named as next.")] = "",
    data: Data = None,
    json: Json = False,
) -> None:
    """Find messages, newest first. Without a time, a control id or a patient: those of the last day."""
    from engine.cli.reading import reader
    from engine.clock import SystemClock
    from engine.search import search as find
    from engine.search_terms import TERMS, read_terms

    given = {
        "channel": channel, "type": type, "control_id": control_id, "patient": _asked(patient), "state": state,
        "since": since, "until": until, "limit": limit, "before": before,
    }  # fmt: skip
    now = SystemClock().now()
    try:
        wanted = read_terms(given, TERMS, now)
    except Configuration as error:
        raise wrong_use(error.text, error.advice) from None
    with reader(settings(data=data)) as store:
        found = find(store.connection, store, wanted, now)
    if json:
        print_json(found.as_dict())
    else:
        _show_found(found)


def trace(
    number: Annotated[str, typer.Argument(metavar="ID", help="Of a message, or of one of its deliveries.")],
    fields: Annotated[bool, typer.Option("--fields", help="Show what came in field by field, with names.")] = False,
    payloads: Annotated[bool, typer.Option(help="Show what came in and what went out.")] = True,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show every step of a message: received, kept, routed by which rule, claimed, tried, answered, delivered."""
    from engine.cli.reading import reader
    from engine.cli.trace_view import view
    from engine.model import read_id
    from engine.trace import trace as look

    try:
        wanted = read_id(number)
    except ValueError as error:
        raise wrong_use(f"reading the id: {error}", "`interlock search` shows ids.") from None
    with reader(settings(data=data)) as store:
        found = look(store.connection, store if payloads else None, wanted)
    if json:
        print_json(found.as_dict())
    else:
        show(*view(found, fields=fields))


def balance(data: Data = None, json: Json = False) -> None:
    """Account for every message and delivery. Exit 1 when anything that was received or accepted is missing."""
    from engine.balance import balance as account
    from engine.cli.reading import reader

    with reader(settings(data=data)) as store:
        found = account(store.connection)
    if json:
        print_json(found.as_dict())
    else:
        _show_balance(found)
    if found.open:
        raise typer.Exit(1)


def _asked(patient: str) -> str:
    """The identifier; "-" asks for it, without an echo where there is a terminal."""
    if patient != "-":
        return patient
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    from getpass import getpass

    return getpass("Identifier of the patient: ").strip()


def _show_found(found: Found) -> None:
    from engine.ids import time_of
    from engine.model import show_id

    rows = [
        (
            show_id(m.id),
            moment(time_of(m.id)),
            m.channel,
            m.type,
            styled(m.state),
            "" if m.reason == "accepted" else m.reason,
            m.size,
        )
        for m in found.messages
    ]
    show(table(("id", "received", "channel", "type", "state", "reason", "bytes#"), rows))
    since = f" since {moment(found.since)}" if found.since else ""
    warn(f"{len(rows)} messages{since}" + (f"; more with --before {show_id(found.next)}" if found.next else ""))


def _show_balance(found: Balance) -> None:
    from engine.model import DeliveryState, MessageState

    messages = tuple(MessageState)
    rows = [(c.channel, c.received, *(c.states[s] for s in messages), _missing(c.unaccounted)) for c in found.channels]
    show(table(("channel", "received#", *(f"{s.value}#" for s in messages), "unaccounted#"), rows))
    states = tuple(DeliveryState)
    to = [
        (d.channel, d.destination, d.accepted, *(d.states[s] for s in states), _missing(d.unaccounted))
        for d in found.destinations
    ]
    show(table(("channel", "destination", "accepted#", *(f"{s.value}#" for s in states), "unaccounted#"), to))
    for fault in found.faults:
        say(f"OPEN: {fault}")
    say("The balance is open." if found.open else "The balance closes: everything is accounted for.")


def _missing(count: int) -> object:
    return cell(count, "bold red" if count else "dim")


def styled(state: str) -> object:
    """A state in the colour that says whether somebody must look."""
    return cell(state, "green" if state in GOOD else "red" if state in BAD else "")
