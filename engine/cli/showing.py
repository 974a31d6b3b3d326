"""`interlock demo`, `interlock bench` and `interlock version`: what it is, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Json, wrong_use
from engine.cli.output import error_console, examples, print_json, say, show


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        epilog=examples("interlock demo", "interlock demo --once     # ends by itself; 0 if all is accounted for")
    )(demo)
    app.command(
        epilog=examples("interlock bench", "interlock bench --connections 8 --seconds 5 --to mllp --json > bench.json")
    )(bench)
    app.command(epilog=examples("interlock version", "interlock version --json"))(version)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; exit 0 only if every message is accounted for.")
    ] = False,
) -> None:
    """Show the engine at work: a simulated laboratory, two EHRs, one of which is down for a while. All is invented."""
    from engine.demo.story import run_demo

    status = run_demo(once=once)
    if status:
        raise typer.Exit(int(status))


def bench(
    connections: Annotated[int, typer.Option(min=1, help="Connections that send at the same time.")] = 32,
    seconds: Annotated[float, typer.Option(help="Length of the main phase.")] = 10.0,
    to: Annotated[str, typer.Option(metavar="fhir|mllp", help="What the destination takes.")] = "fhir",
    patients: Annotated[int, typer.Option(min=1, help="How many patients the messages are about.")] = 1000,
    rate: Annotated[float, typer.Option(help="Messages a second; 0 sends as fast as answers come.")] = 0.0,
    rounds: Annotated[int, typer.Option(min=1, help="Repeat and give medians, and the worst of what must not be.")] = 1,
    store: Annotated[str | None, typer.Option(metavar="URL", help="The store. [default: SQLite]")] = None,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="The broker. [default: in process]")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the data there. [default: a folder that is removed]")
    ] = None,
    json: Json = False,
) -> None:
    """Measure this machine: acknowledged and delivered a second, times, order, losses. Takes about half a minute."""
    if to not in ("fhir", "mllp"):
        raise wrong_use('reading --to: it is neither "fhir" nor "mllp"')
    if seconds <= 0 or rate < 0:
        raise wrong_use("reading the options: --seconds must be more than 0, --rate not less")
    from engine.bench.report import table
    from engine.bench.run import run_bench

    with error_console().status("starting") as status:
        figures = run_bench(
            connections=connections,
            seconds=seconds,
            to=to,
            patients=patients,
            rate=rate,
            rounds=rounds,
            data=data,
            store=store,
            broker=broker,
            progress=lambda name, left: status.update(f"{name}, about {left:.0f} s"),
        )
    if json:
        print_json(figures)
    else:
        show(table({"interlock": figures}))
    if any(figures.get(name) for name in ("order_violations", "lost", "balance_open")):
        raise typer.Exit(1)


def version(json: Json = False) -> None:
    """Print the version."""
    import platform

    from engine import __version__

    if json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        say(f"interlock {__version__}")
