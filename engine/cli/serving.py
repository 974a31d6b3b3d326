"""`interlock serve` and `interlock reload`.

Invariant: standard output has one line, written when the engine is ready; whoever waits for it may send.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Channels, Data, Json, settings
from engine.cli.output import examples, print_json, print_json_line, say, warn
from engine.errors import Configuration, StoreUnavailable

if TYPE_CHECKING:
    from engine.channels.faults import Fault
    from engine.runtime import Runtime
    from engine.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        epilog=examples(
            "interlock serve",
            "interlock serve --channels ./channels --data /var/lib/interlock --http 127.0.0.1:8080",
            "interlock serve --agreements-in-place     # once: this site may handle real patients' data",
        )
    )(serve)
    app.command(epilog=examples("interlock reload", "interlock reload --data /var/lib/interlock --json"))(reload)


def serve(
    channels: Channels = None,
    data: Data = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where the HTTP API listens; port 0 takes any. [default: 127.0.0.1:8080]"
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The store. [default: SQLite in the data folder]")
    ] = None,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="The broker. [default: in process]")] = None,
    role: Annotated[
        str | None, typer.Option(metavar="all|ingress|worker|web", help="What this process does. [default: all]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="How many child processes convert messages. [default: 0]")
    ] = None,
    agreements_in_place: Annotated[
        bool,
        typer.Option(
            "--agreements-in-place",
            help="Confirm that the site may handle real patients' data: production channels open. Kept and recorded.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Do not start when any channel has a fault. [default: when none is sound]")
    ] = False,
    log_level: Annotated[str | None, typer.Option(metavar="debug|info|warning|error", help="[default: info]")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="text|json", help="[default: text]")] = None,
    json: Json = False,
) -> None:
    """Run the engine until SIGTERM or Ctrl-C; SIGHUP takes changed channels.

    One line is printed when it is ready. The first start prints the HTTP API's token on standard error, once. Channels
    with faults are reported and left out; a second SIGTERM ends at once.
    """
    chosen = settings(
        channels=channels,
        data=data,
        http=http,
        store=store,
        broker=broker,
        role=role,
        workers=workers,
        agreements_in_place=agreements_in_place or None,
        log_level=log_level,
        log_format=log_format,
    )
    _warn_of_strays()
    if strict:
        _refuse_faults(chosen)
    _run(chosen, json)


def reload(data: Data = None, json: Json = False) -> None:
    """Take the folder of channels as it is now; the server says what changed.

    A channel with a fault runs on as it was; the exit status is 1 then.
    """
    from engine.control import call

    changes = call(settings(data=data).data, "reload")
    if json:
        print_json(changes)
    else:
        for word in ("added", "changed", "removed", "kept"):
            for name in changes[word]:
                say(f"{word:8} {name}" + (" (it has a fault and runs on as it was)" if word == "kept" else ""))
        for fault in changes["faults"]:
            warn(fault)
        if not any(changes[word] for word in ("added", "changed", "removed", "kept")):
            say("nothing has changed")
    if changes["errors"]:
        raise typer.Exit(1)


def _run(chosen: Settings, json: bool) -> None:
    import uvloop

    from engine import observe
    from engine.web.access import make_token

    observe.configure(chosen.log_level, chosen.log_format)
    token = make_token(chosen.token_file)
    if token:
        warn(f"the HTTP API's token, shown only now: {token}")
    uvloop.run(_serve(chosen, json))


async def _serve(chosen: Settings, json: bool) -> None:
    import asyncio

    from engine import observe
    from engine.runtime import Runtime

    runtime = Runtime(chosen)
    try:
        await runtime.start()
    except StoreUnavailable:
        if runtime.is_ending:  # it waited for the store, and was told to end
            observe.event("stopped")
            return
        raise
    faults = list(runtime.site.faults)
    for fault in faults:
        warn(str(fault))
    running = asyncio.create_task(runtime.run())
    await asyncio.sleep(0)  # its signal handlers are in place before anybody is told that it is ready
    _say_ready(runtime, faults, json)
    await running


def _say_ready(runtime: Runtime, faults: list[Fault], json: bool) -> None:
    """The one line on standard output."""
    from engine import __version__

    report = runtime.report()
    if json:
        ready = {"ready": True, "version": __version__, "http": runtime.http.url, "pid": os.getpid()}
        print_json_line({**ready, "channels": report, "faults": [str(fault) for fault in faults]})
        return
    broken = len(runtime.site.broken)
    left_out = f", {broken} left out (see the faults above)" if broken else ""
    noun = "channel" if len(report) == 1 else "channels"
    say(f"interlock {__version__} ready: {runtime.http.url}, {len(report)} {noun}{left_out}")
    sys.stdout.flush()


def _warn_of_strays() -> None:
    from engine.settings import unknown

    for line in unknown(os.environ):
        warn(line)


def _refuse_faults(chosen: Settings) -> None:
    from engine.cli.checking import read

    site = read(chosen.channels, chosen)
    if not site.sound:
        text = "starting with --strict: there are faults\n" + "\n".join(map(str, site.faults))
        raise Configuration(text, code="faults", advice="Mend them, or start without --strict: sound channels run.")
