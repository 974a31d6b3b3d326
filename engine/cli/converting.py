"""`interlock convert`: a file or a folder of messages to another format, without a channel or a store.

Invariant: a bad message never ends a folder; each has its line in the report, and the exit status tells of any.
"""

from __future__ import annotations

import json as json_writer
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from engine.cli.options import Json, comes_later, settings, wrong_use
from engine.cli.output import error_console, examples, print_json, warn
from engine.errors import NotFound

if TYPE_CHECKING:
    from engine.ports import Conversion, Tables

#: What the command line's contract names, and what this version converts of it.
TARGETS = ("fhir", "hl7v2", "script", "ccd", "html")
LATER = frozenset({"script", "ccd", "html"})
SOURCES = ("hl7v2", "fhir", "script", "ccd")


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=examples(
            "interlock convert result.hl7 --to fhir",
            "interlock convert results/ --to fhir --out bundles/ --report report.jsonl",
            "interlock convert bundle.json --to hl7v2",
        )
    )(convert)


def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A message, a batch of them, or a folder.")],
    to: Annotated[str, typer.Option("--to", metavar="|".join(TARGETS), help="What to make of it.")],
    from_format: Annotated[
        str, typer.Option("--from", metavar="FORMAT", help="What it is. [default: by its content]")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write each result to a file there.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.jsonl", help="Write a line of JSON about each message.")
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="For times without an offset, such as America/Chicago. Never guessed.")
    ] = "",
    sender: Annotated[
        str, typer.Option(metavar="NAME", help="Scope of identifiers whose authority the message does not say.")
    ] = "",
    json: Json = False,
) -> None:
    """Convert messages. One file prints its result; a folder needs --out and shows its progress.

    Exit 1 when a message could not be converted; the others are converted all the same.
    """
    _check(source, to, from_format, out)
    module = _conversions()
    tables, context = _tables(), _context(timezone, sender)
    files = module.message_files(source, to) if source.is_dir() else [source]
    lines: list[dict[str, Any]] = []
    with ExitStack() as stack:
        sink = stack.enter_context(report.open("w", encoding="utf-8")) if report else None
        for path in _watched(files, source.is_dir()):
            for done in module.convert_file(path, to, tables, context):
                lines.append(done.line())
                _keep(done, lines[-1], sink)
                _write(done, source, out, module.SUFFIX_OF[to], printing=not json)
    _finish(lines, json)


def _check(source: Path, to: str, from_format: str, out: Path | None) -> None:
    if to not in TARGETS:
        raise wrong_use(f"reading --to: it is none of {', '.join(TARGETS)}")
    if from_format and from_format not in SOURCES:
        raise wrong_use(f"reading --from: it is none of {', '.join(SOURCES)}")
    if to in LATER or from_format not in ("", "hl7v2", "fhir"):
        what = f"converting to {to}" if to in LATER else f"converting from {from_format}"
        raise comes_later(what, "This version converts HL7 v2 to fhir and to hl7v2, and FHIR to hl7v2.")
    if not source.exists():
        raise wrong_use(f"reading {source}: there is no such file or folder")
    if source.is_dir() and out is None:
        raise wrong_use("converting a folder: --out says where the results go", "Add --out DIR.")
    if out is not None and out.exists() and not out.is_dir():
        raise wrong_use(f"writing to {out}: it is no folder")


def _conversions() -> Any:
    """The installed package of conversions: the entry point `convert` of `interlock.mappings`."""
    from engine.registry import MAPPING_GROUP, plugins

    point = plugins(MAPPING_GROUP).get("convert")
    if point is None:
        raise NotFound("converting: no package of conversions is installed", advice="Reinstall the package interlock.")
    return point.load()


def _tables() -> Tables:
    from engine.registry import tables

    found = tables(settings().tables)
    if found is None:
        raise NotFound("converting: no mapping tables are installed", advice="Reinstall the package interlock.")
    return found


def _context(timezone: str, sender: str) -> Conversion:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from engine.clock import SystemClock
    from engine.ports import Conversion

    try:
        if timezone:
            ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise wrong_use(
            "reading --timezone: there is no such zone", "Such as America/Chicago or Europe/Berlin."
        ) from None
    return Conversion("convert", timezone=timezone, sender=sender, received_at=SystemClock().now())


def _watched(files: list[Path], bar: bool) -> Iterator[Path]:
    """The files, behind a progress bar on standard error for a folder."""
    if not bar:
        yield from files
        return
    from rich.progress import track

    yield from track(files, "converting", console=error_console(), transient=True)


def _keep(done: Any, line: dict[str, Any], sink: TextIO | None) -> None:
    if sink is not None:
        sink.write(json_writer.dumps(line, ensure_ascii=False) + "\n")
    if not done.ok:
        warn(f"{line['path']}: {line['error']}")


def _write(done: Any, source: Path, out: Path | None, suffix: str, *, printing: bool) -> None:
    """The result to its file, named as its source is; or, of one file without --out, to standard output."""
    if not done.ok:
        return
    if out is None:
        if printing:
            sys.stdout.buffer.write(done.payload + (b"" if done.payload.endswith(b"\n") else b"\n"))
            sys.stdout.buffer.flush()
        return
    inside = done.path.relative_to(source) if source.is_dir() else Path(done.path.name)
    number = "" if done.index == 1 else f"-{done.index}"
    target = out / inside.with_name(f"{inside.name}{number}{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(done.payload)


def _finish(lines: list[dict[str, Any]], json: bool) -> None:
    converted = sum(bool(line["ok"]) for line in lines)
    if json:
        print_json({"messages": len(lines), "converted": converted, "failed": len(lines) - converted, "reports": lines})
    elif len(lines) != 1:
        warn(f"{len(lines)} messages, {converted} converted, {len(lines) - converted} not")
    if converted < len(lines):
        raise typer.Exit(1)
