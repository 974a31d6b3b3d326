"""Read a code table from CSV: every fault is a `Configuration` error with file:line and what to do about it.

A table that has been read is immutable, and its revision names its content: same revision, same answers.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from engine.errors import Configuration
from engine.model import MICROSECONDS, Mapped

REQUIRED = ("local_code", "code", "display", "system")
OPTIONAL = ("effective_from", "effective_to", "comment", "local_display", "local_system")

#: Earlier and later than any time a message can carry, microseconds since 1970.
ALWAYS = -(1 << 62)
FOREVER = 1 << 62

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what a local code means from `start` (inclusive) to `end` (exclusive), microseconds since 1970, UTC."""

    mapped: Mapped
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    """One code table. `plain` answers for codes without dates in one step; `dated` holds the rest, oldest first."""

    name: str
    revision: str
    plain: Mapping[str, Mapped]
    dated: Mapping[str, tuple[Entry, ...]]
    systems: frozenset[str]
    path: Path = field(default=Path(), compare=False)

    def __len__(self) -> int:
        return len(self.plain) + len(self.dated)

    def at(self, code: str, at: int) -> Mapped | None:
        """The entry of a dated code that holds at a time."""
        for entry in self.dated.get(code, ()):
            if entry.start <= at < entry.end:
                return entry.mapped
        return None


def read_table(path: Path) -> Table:
    """Read one CSV file; its name without the suffix is the table's name.

    Raises:
        Configuration: for the first fault; `check_table` lists all.
    """
    table, faults = _read(path)
    if faults:
        raise faults[0]
    return table


def check_table(path: Path) -> list[Configuration]:
    """Every fault of one CSV file, in the order of its lines."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Table, list[Configuration]]:
    faults: list[Configuration] = []
    try:
        raw = path.read_bytes()
        lines = raw.decode("utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        raise _fault(path, 1, f"reading the table: {error.strerror}", "Check that the file exists.") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _fault(path, line, "the table is not UTF-8", "Save it as CSV UTF-8.") from error
    revision = hashlib.sha256(raw).hexdigest()[:12]
    entries: dict[str, list[Entry]] = {}
    for line, cells in _rows(path, lines, faults):
        _add(path, line, cells, revision, entries, faults)
    return _table(path, revision, entries), faults


def _table(path: Path, revision: str, entries: Mapping[str, list[Entry]]) -> Table:
    plain = {code: rows[0].mapped for code, rows in entries.items() if _undated(rows)}
    dated = {code: tuple(rows) for code, rows in entries.items() if not _undated(rows)}
    systems = frozenset(row.mapped.system for rows in entries.values() for row in rows)
    return Table(path.stem, revision, MappingProxyType(plain), MappingProxyType(dated), systems, path)


def _undated(rows: Sequence[Entry]) -> bool:
    return len(rows) == 1 and rows[0].start == ALWAYS and rows[0].end == FOREVER


def _rows(path: Path, lines: Iterable[str], faults: list[Configuration]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows as dicts with the line each one ends on; a faulty header ends the reading."""
    reader = csv.reader(lines)
    header: list[str] | None = None
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if wrong := list(_header_faults(path, reader.line_num, header)):
                faults.extend(wrong)
                return
        elif len(cells) != len(header):
            text = f"{len(cells)} cells where the header has {len(header)}"
            faults.append(_fault(path, reader.line_num, text, "Quote cells that hold a comma."))
        else:
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    if header is None:
        faults.append(_fault(path, 1, "the table is empty", f"Begin with the line {','.join(REQUIRED)}"))


def _header_faults(path: Path, line: int, header: Sequence[str]) -> Iterator[Configuration]:
    known = REQUIRED + OPTIONAL
    for name in header:
        if name not in known:
            near = difflib.get_close_matches(name.lower().replace(" ", "_"), known, 1)
            advice = f"Did you mean {near[0]}?" if near else f"Known columns: {', '.join(known)}."
            yield _fault(path, line, f"unknown column {name!r}", advice)
        elif header.count(name) > 1:
            yield _fault(path, line, f"column {name!r} is there twice", "Remove one of them.")
    for name in REQUIRED:
        if name not in header:
            yield _fault(path, line, f"column {name!r} is missing", f"Begin with the line {','.join(REQUIRED)}")


def _add(
    path: Path,
    line: int,
    cells: Mapping[str, str],
    revision: str,
    entries: dict[str, list[Entry]],
    faults: list[Configuration],
) -> None:
    """Add one row, or say what is wrong with it."""
    for name in ("local_code", "code", "system"):
        if not cells[name]:
            faults.append(_fault(path, line, f"{name} is empty", "Fill it in, or remove the line."))
            return
    try:
        start, end = _period(cells)
    except ValueError:
        faults.append(_fault(path, line, "effective_from or effective_to is not a date", "Write 2025-01-31."))
        return
    if start >= end:
        faults.append(_fault(path, line, "effective_to is before effective_from", "Exchange them."))
        return
    rows = entries.setdefault(cells["local_code"], [])
    if twin := next((row for row in rows if row.start < end and start < row.end), None):
        advice = "Remove one, or give them effective dates that do not overlap."
        faults.append(_fault(path, line, f"the local code is already on line {twin.line}", advice))
        return
    rows.append(Entry(_mapped(cells, revision), start, end, line))
    rows.sort(key=lambda row: row.start)


def _mapped(cells: Mapping[str, str], revision: str) -> Mapped:
    extra = {name: cells[name] for name in ("local_display", "local_system") if cells.get(name)}
    return Mapped(cells["code"], cells["display"], cells["system"], revision, extra or _NOTHING)


def _period(cells: Mapping[str, str]) -> tuple[int, int]:
    """Dates are whole days in UTC, both inclusive; a date with a time is exact and `effective_to` then exclusive."""
    start, end = cells.get("effective_from", ""), cells.get("effective_to", "")
    return (_instant(start, timedelta()) if start else ALWAYS), (_instant(end, timedelta(days=1)) if end else FOREVER)


def _instant(text: str, whole_day: timedelta) -> int:
    moment = datetime.fromisoformat(text)
    if len(text) <= 10:
        moment += whole_day
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) // MICROSECONDS * MICROSECONDS


def _fault(path: Path, line: int, text: str, advice: str) -> Configuration:
    where = f"{path}:{line}"
    return Configuration(f"{where}: {text}. {advice}", where=where, advice=advice)
