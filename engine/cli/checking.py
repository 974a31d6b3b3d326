"""`interlock check` and `interlock test`: what is wrong with the channels, and whether their cases still hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Json, settings
from engine.cli.output import cell, examples, print_json, say, show, table, warn

if TYPE_CHECKING:
    from engine.channels.site import Site
    from engine.rehearsal.rehearse import Result
    from engine.settings import Settings

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="A folder of channels, or of one channel. [default: ./channels]"),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog=examples("interlock check channels/", "interlock check channels/northside-lab-results"))(check)
    app.command(
        epilog=examples(
            "interlock test channels/",
            "interlock test channels/northside-lab-results --update     # writes expectations that are missing",
        )
    )(test)


def check(folder: Folder = None, json: Json = False) -> None:
    """Report every fault of every channel as file:line, with what to write instead. Exit 1 when there is an error."""
    chosen = settings(channels=folder)
    site = read(chosen.channels, chosen)
    if json:
        print_json({"ok": site.sound, "channels": sorted(site.channels), "faults": [_fault(f) for f in site.faults]})
    else:
        for fault in site.faults:
            say(str(fault))
        wrong = sum(fault.severity == "error" for fault in site.faults)
        warn(f"{len(site.channels)} channels can run, {wrong} errors, {len(site.faults) - wrong} warnings")
    if not site.sound:
        raise typer.Exit(1)


def test(
    folder: Folder = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the expectations that are missing; none is written over.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the cases of every channel, without a store or a wire, and show what differs, field by field.

    Exit 1 when a case fails or a channel has a fault.
    """
    chosen = settings(channels=folder)
    site = read(chosen.channels, chosen)
    results = list(_rehearse(site, chosen, update))
    passed = site.sound and all(result.passed for result in results)
    if json:
        faults = [_fault(fault) for fault in site.faults]
        print_json({"ok": passed, "cases": len(results), "faults": faults, "results": [_result(r) for r in results]})
    else:
        _show(site, results)
    if not passed:
        raise typer.Exit(1)


def read(folder: Path, chosen: Settings) -> Site:
    """The channels below a folder, or the one in it, with every fault; tables are known as the engine knows them."""
    from engine import registry
    from engine.channels.checks import Known
    from engine.channels.site import FILE, Site, inspect_channel, read_site

    tables = registry.tables(chosen.tables)
    known = Known(tables=frozenset(tables.names()) if tables is not None else None)
    if not (folder / FILE).is_file():
        return read_site(folder, known)
    channel, faults = inspect_channel(folder, known)
    found = {channel.name: channel} if channel is not None else {}
    return Site(found, frozenset() if found else frozenset({folder.name}), tuple(faults))


def _rehearse(site: Site, chosen: Settings, update: bool) -> Iterator[Result]:
    from engine import registry
    from engine.errors import Configuration
    from engine.rehearsal.rehearse import Parts, rehearse

    tables, apply_maps = registry.tables(chosen.tables), registry.maps()
    if tables is None or apply_maps is None:
        raise Configuration("running cases: no mapping tables are installed", advice="Reinstall the package interlock.")
    for channel in site.channels.values():
        yield from rehearse(channel, Parts(tables, apply_maps), update=update)


def _show(site: Site, results: list[Result]) -> None:
    for fault in site.faults:
        say(str(fault))
    for result in results:
        for path in result.written:
            say(f"wrote {path}: read it, then keep it")
        say(f"{'ok    ' if result.passed else 'FAILED'} {result.case.channel} {result.case.name}")
        if not result.passed:
            rows = [
                (cell(found.path, "bold"), cell(found.expected, "green"), cell(found.actual, "red"))
                for found in result.differences
            ]
            show(table(("place", "expected", "came"), rows))
    failed = sum(not result.passed for result in results)
    warn(f"{len(results)} cases, {failed} failed" + ("" if site.sound else "; a channel with a fault was not run"))


def _fault(fault: Any) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in ("file", "line", "severity", "text", "suggestion")}


def _result(result: Result) -> dict[str, Any]:
    differences = [{"path": d.path, "expected": d.expected, "actual": d.actual} for d in result.differences]
    return {
        "channel": result.case.channel,
        "case": result.case.name,
        "passed": result.passed,
        "differences": differences,
        "written": [str(path) for path in result.written],
    }
