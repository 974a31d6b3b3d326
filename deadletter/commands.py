"""`interlock deadletter`: what waits for a person, why, and how it goes on or ends.

Invariant: whatever is sent on or ended is recorded with who did it and why; a list names no patient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Data, Json, settings, wrong_use
from engine.cli.output import cell, examples, moment, print_json, say, show, table, warn

if TYPE_CHECKING:
    from deadletter.queues import Item, Letter, Wanted

Id = Annotated[str, typer.Argument(metavar="ID", help="As `interlock deadletter list` shows it.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who look later: it is recorded.")]
_STYLES = {"held": "yellow", "dead": "red", "in doubt": "magenta"}
_STATES = ("", "held", "dead", "in doubt")
_ID = "0e1xh5w3g2m4a"

app = typer.Typer(
    help="Show what waits for a person, and send it on or end it.",
    epilog=examples(
        "interlock deadletter list", f'interlock deadletter replay {_ID} --reason "the table has the code now"'
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    "list",
    epilog=examples(
        "interlock deadletter list",
        "interlock deadletter list --state dead --channel northside-lab-results --json",
        "interlock deadletter list --items     # what went on all the same and wants a look",
    ),
)
def list_letters(
    channel: Annotated[str, typer.Option(metavar="NAME", help="Of this channel.")] = "",
    state: Annotated[str, typer.Option(metavar="held|dead|in-doubt", help="In this state.")] = "",
    code: Annotated[str, typer.Option(metavar="CODE", help="With this reason, as the list shows it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    before: Annotated[str, typer.Option(metavar="ID", help="The page after: what the last one named as next.")] = "",
    items: Annotated[bool, typer.Option("--items", help="Show open items, such as unmapped codes, instead.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List held messages and held, dead and doubtful deliveries, newest first, each with what to do."""
    from deadletter import queues
    from engine.cli.reading import reader

    wanted = _wanted(channel, state, code, limit, before)
    with reader(settings(data=data)) as store:
        if items:
            _show_items(queues.items(store.connection, store, channel, code, limit), json)
            return
        found = queues.letters(store.connection, wanted)
    if json:
        print_json(found.as_dict())
        return
    show(
        table(
            ("id", "since", "channel", "destination", "type", "state", "reason", "what to do"), map(_row, found.letters)
        )
    )
    from engine.model import show_id

    more = f"; more with --before {show_id(found.next)}" if found.next else ""
    warn(f"{len(found.letters)} wait for a person{more}")


@app.command("show", epilog=examples(f"interlock deadletter show {_ID}", f"interlock deadletter show {_ID} --json"))
def show_letter(
    number: Id,
    fields: Annotated[bool, typer.Option("--fields", help="Show what came in field by field, with names.")] = False,
    payloads: Annotated[bool, typer.Option(help="Show what came in and what went out.")] = True,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show why one waits, what to do about it, and its whole story."""
    from deadletter import queues
    from engine.cli.reading import reader
    from engine.cli.trace_view import view

    with reader(settings(data=data)) as store:
        found = queues.show(store.connection, store if payloads else None, _read(number))
    if json:
        print_json(found.as_dict())
        return
    rows = [(cell(r.code, "bold"), r.meaning, r.advice, "yes" if r.replay else "no") for r in found.reasons]
    show(table(("reason", "what it means", "what to do", "replay"), rows), *view(found.trace, fields=fields))


@app.command(epilog=examples(f'interlock deadletter replay {_ID} --reason "the EHR is back"'))
def replay(number: Id, reason: Why, data: Data = None, json: Json = False) -> None:
    """Send it on: a delivery from its place in its lane, a held message through the whole path again."""
    _act("deadletter.replay", number, reason, data, json)


@app.command(epilog=examples(f'interlock deadletter resend {_ID} --reason "the EHR lost last night"'))
def resend(number: Id, reason: Why, data: Data = None, json: Json = False) -> None:
    """Send a delivery that was delivered once more, as a new one at the end of its lane."""
    _act("deadletter.resend", number, reason, data, json)


@app.command(epilog=examples(f'interlock deadletter end {_ID} --reason "sent by fax, ticket 4711"'))
def end(number: Id, reason: Why, data: Data = None, json: Json = False) -> None:
    """Close it for good: it will not be sent. It stays accounted for as ended."""
    _act("deadletter.end", number, reason, data, json)


@app.command(epilog=examples(f'interlock deadletter close {_ID} --reason "added to northside-loinc, ticket 4711"'))
def close(number: Id, reason: Why, data: Data = None, json: Json = False) -> None:
    """Close an item that somebody has seen to; when it happens again a new one opens."""
    _act("deadletter.close", number, reason, data, json)


@app.command(epilog=examples("interlock deadletter reasons", "interlock deadletter reasons --json"))
def reasons(json: Json = False) -> None:
    """List every reason: what it means, what to do, and whether to replay."""
    from dataclasses import asdict

    from deadletter.reasons import GROUPS

    if json:
        print_json({"groups": [asdict(group) for group in GROUPS]})
        return
    for group in GROUPS:
        rows = [(cell(r.code, "bold"), r.meaning, r.advice, "yes" if r.replay else "no") for r in group.reasons]
        show(table(("code", "what it means", "what to do", "replay"), rows, group.title))


def _wanted(channel: str, state: str, code: str, limit: int, before: str) -> Wanted:
    from deadletter.queues import Wanted

    word: Any = state.replace("-", " ").replace("_", " ")
    if word not in _STATES:
        raise wrong_use("reading --state: it is none of held, dead, in-doubt")
    return Wanted(channel, code, word, _read(before) if before else 0, limit)


def _read(number: str) -> int:
    from engine.model import read_id

    try:
        return read_id(number)
    except ValueError as error:
        raise wrong_use(f"reading the id: {error}", "`interlock deadletter list` shows ids.") from None


def _act(command: str, number: str, reason: str, data: Any, json: bool) -> None:
    from engine.cli.changing import change
    from engine.model import show_id

    if not reason.strip():
        raise wrong_use("reading --reason: it is empty", "Say why: those who look later want to know.")
    done = change(settings(data=data), command, id=show_id(_read(number)), reason=reason)
    if json:
        print_json(done)
        return
    follows = next(
        (f"; follow it with `interlock trace {done[n]}`" for n in ("message", "delivery") if done.get(n)), ""
    )
    say(f"{done['code']}: {done['id']}{follows}")


def _row(letter: Letter) -> tuple[object, ...]:
    from deadletter.reasons import explain
    from engine.model import show_id

    state = cell(letter.state, _STYLES.get(letter.state, ""))
    advice = explain(letter.reason).advice
    return (
        show_id(letter.id), moment(letter.since), letter.channel, letter.destination, letter.type, state,
        letter.reason, advice,
    )  # fmt: skip


def _show_items(found: list[Item], json: bool) -> None:
    if json:
        print_json({"items": [item.as_dict() for item in found]})
        return
    from engine.model import show_id

    rows = [
        (
            show_id(i.id), i.channel, i.code, i.about["subject"], i.about["table"] or i.about["where"], i.count,
            moment(i.opened_at), moment(i.latest_at), show_id(i.message),
        )
        for i in found
    ]  # fmt: skip
    show(table(("id", "channel", "code", "about", "where", "times#", "first", "latest", "first message"), rows))
    warn(f"{len(found)} items are open")
