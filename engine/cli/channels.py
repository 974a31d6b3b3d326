"""`interlock channel`: what the channels do, and a person's hand on them.

Invariant: what a person sets is persisted and recorded with a name and a reason, whether a server runs or not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Channels, Data, Json, Reason, settings, wrong_use
from engine.cli.output import cell, examples, print_json, say, show, table
from engine.errors import NotFound

if TYPE_CHECKING:
    from engine.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="The channel's name, as `interlock channel list` shows it.")]
Destination = Annotated[str, typer.Option("--destination", metavar="D", help="Only this destination of the channel.")]
COUNTED = ("queued", "in doubt", "held", "dead", "delivered")
_STYLES = {"started": "green", "paused": "yellow", "stopped": "red"}


def add_to(app: typer.Typer) -> None:
    """Add the group of commands of this module."""
    group = typer.Typer(
        help="List, start, stop and pause channels and destinations; skip what blocks a lane.",
        epilog=examples("interlock channel list", "interlock channel pause northside-lab-results --reason maintenance"),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    name = "northside-lab-results"
    group.command("list", epilog=examples("interlock channel list", "interlock channel list --json"))(list_channels)
    group.command(
        epilog=examples(f"interlock channel start {name}", f"interlock channel start {name} --destination lee-ehr")
    )(start)
    group.command(epilog=examples(f'interlock channel stop {name} --reason "the laboratory moves tonight"'))(stop)
    group.command(
        epilog=examples(
            f"interlock channel pause {name}     # takes nothing, goes on delivering",
            f"interlock channel pause {name} --destination lee-ehr     # delivers nothing there",
        )
    )(pause)
    group.command(
        epilog=examples(f'interlock channel skip {name} --destination lee-ehr --reason "sent on paper, ticket 4711"')
    )(skip)
    app.add_typer(group, name="channel")


def list_channels(channels: Channels = None, data: Data = None, json: Json = False) -> None:
    """Show every channel: its state, where it listens, and what its destinations wait for."""
    chosen = settings(channels=channels, data=data)
    report = _report(chosen)
    if json:
        print_json({"channels": report})
        return
    columns = ("channel", "class", "state", "address", "revision", *(f"{name}#" for name in COUNTED))
    show(table(columns, [row for channel in report for row in _rows(channel)]))
    if not report:
        say(f"There are no channels in {chosen.channels}; `interlock check` says what is wrong there.")


def start(
    name: Name,
    destination: Destination = "",
    reason: Reason = "",
    channels: Channels = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Let a channel, or one destination of it, work again."""
    _set(name, destination, "started", reason, settings(channels=channels, data=data), json)


def stop(
    name: Name,
    destination: Destination = "",
    reason: Reason = "",
    channels: Channels = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Stop a channel: it takes nothing and delivers nothing. What was accepted waits, and is shown as delay."""
    _set(name, destination, "stopped", reason, settings(channels=channels, data=data), json)


def pause(
    name: Name,
    destination: Destination = "",
    reason: Reason = "",
    channels: Channels = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Pause a channel: it takes nothing and goes on delivering. A paused destination keeps its queue."""
    _set(name, destination, "paused", reason, settings(channels=channels, data=data), json)


def skip(
    name: Name,
    destination: Annotated[str, typer.Option("--destination", metavar="D", help="The destination whose lane stands.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why it may be left out: it is recorded.")],
    delivery: Annotated[
        str, typer.Option(metavar="ID", help="The delivery, where several lanes stand. [default: the only one]")
    ] = "",
    data: Data = None,
    json: Json = False,
) -> None:
    """End the held or dead delivery at the head of a lane, so that what waits behind it goes on.

    It stays accounted for as ended, with who did it and why.
    """
    from engine.cli.changing import change

    if not reason.strip():
        raise wrong_use("skipping a delivery: --reason is empty", "Say why the destination may go without it.")
    arguments = {"channel": name, "destination": destination, "delivery": delivery, "reason": reason}
    result = change(settings(data=data), "skip", **arguments)
    if json:
        print_json(result)
    else:
        say(f"ended: delivery {result['delivery']} of message {result['message']}; its lane goes on")


def _set(name: str, destination: str, state: str, reason: str, chosen: Settings, json: bool) -> None:
    from engine.cli.changing import change
    from engine.control import running

    if not running(chosen.data):
        _must_exist(name, destination, chosen.channels)
    result = change(chosen, "channel", channel=name, destination=destination, state=state, reason=reason)
    if json:
        print_json(result)
    else:
        say(f"{state}: {name}" + (f", destination {destination}" if destination else ""))


def _must_exist(name: str, destination: str, folder: Path) -> None:
    """Without a server only the folder knows the names."""
    from engine.channels.site import read_site

    channel = read_site(folder).channels.get(name)
    if channel is None or (destination and channel.destination(destination) is None):
        raise NotFound(
            f"there is no such channel or destination in {folder}",
            advice="`interlock channel list` shows what there is; --channels names another folder.",
        )


def _report(chosen: Settings) -> list[dict[str, Any]]:
    """From the running server; without one, what the folder and the store say."""
    from engine.control import call, running

    if running(chosen.data):
        return list(call(chosen.data, "report")["channels"])
    from engine.cli.reading import offline_report

    return offline_report(chosen)


def _rows(channel: dict[str, Any]) -> list[tuple[object, ...]]:
    """One row for the channel, one for each of its destinations."""
    state = cell(channel["state"], _STYLES.get(channel["state"], ""))
    address = channel.get("trouble") or channel.get("address") or ""
    rows: list[tuple[object, ...]] = [
        (cell(channel["name"], "bold"), channel["class"], state, address, channel["revision"], *[""] * len(COUNTED))
    ]
    for destination in channel.get("destinations", ()):
        counts = destination.get("counts", {})
        numbers = [counts.get(name, 0) if "counts" in destination else "" for name in COUNTED]
        state = cell(destination["state"], _STYLES.get(destination["state"], ""))
        rows.append((f"  → {destination['name']}", "", state, destination.get("address", ""), "", *numbers))
    return rows
