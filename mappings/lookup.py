"""Code tables in memory: the port `Tables` over folders of CSV files.

A lookup answers from one consistent set: a reload builds the next set whole and then puts it in place at once, or,
when a file has a fault, leaves the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from engine.errors import Configuration, NotFound
from engine.model import Mapped, Unmapped
from mappings.tables import Table, check_table, read_table

#: The tables that come with Interlock; a site's table of the same name replaces one.
SHIPPED = Path(__file__).parent / "tables"

_Answers = tuple[Mapping[str, Mapped], Table, Unmapped]


class CodeTables:
    """The tables of some folders. Safe to read from every thread; `reload` swaps them atomically."""

    __slots__ = ("_now", "folders")

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Load the shipped tables, then each folder.

        Raises:
            Configuration: when a file has a fault, with file:line.
        """
        self.folders = (SHIPPED, *folders)
        self._now = _set(_load(self.folders))

    def lookup(self, table: str, code: str, at: int) -> Mapped | Unmapped:
        """The entry for a local code at a time. Raises `NotFound` when there is no such table."""
        try:
            plain, found, unmapped = self._now[1][table]
        except KeyError:
            raise _missing(table, self._now[0]) from None
        return plain.get(code) or (found.at(code, at) if found.dated else None) or unmapped

    def revision(self, table: str) -> str:
        """The revision a lookup now would use. Raises `NotFound` when there is no such table."""
        try:
            return self._now[0][table].revision
        except KeyError:
            raise _missing(table, self._now[0]) from None

    def names(self) -> Sequence[str]:
        """Every table there is, in order."""
        return sorted(self._now[0])

    def systems(self, table: str) -> frozenset[str]:
        """The code systems that a table maps to. Raises `NotFound` when there is no such table."""
        return self.table(table).systems

    def table(self, name: str) -> Table:
        """A whole table, to show it. Raises `NotFound` when there is no such table."""
        try:
            return self._now[0][name]
        except KeyError:
            raise _missing(name, self._now[0]) from None

    @property
    def revisions(self) -> str:
        """One short hash over all tables: it changes when any table does."""
        text = "\n".join(f"{name} {table.revision}" for name, table in sorted(self._now[0].items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def reload(self) -> list[str]:
        """Read the folders again; the names of what was added, changed or removed.

        Raises:
            Configuration: when a file has a fault; then nothing changes.
        """
        old, new = self._now[0], _load(self.folders)
        self._now = _set(new)
        return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def check_tables(folders: Iterable[Path]) -> list[Configuration]:
    """Every fault of every table in some folders."""
    return [fault for folder in folders for path in sorted(folder.glob("*.csv")) for fault in check_table(path)]


def _set(tables: Mapping[str, Table]) -> tuple[Mapping[str, Table], dict[str, _Answers]]:
    """One consistent set: the tables, and what a lookup needs of each at hand."""
    return tables, {name: (table.plain, table, Unmapped(table.revision)) for name, table in tables.items()}


def _load(folders: Sequence[Path]) -> Mapping[str, Table]:
    shipped, *sites = folders
    tables = {path.stem: read_table(path) for path in sorted(shipped.glob("*.csv"))}
    own: dict[str, Table] = {}
    for path in (path for folder in sites for path in sorted(folder.glob("*.csv"))):
        if path.stem in own:
            text = f"{path}:1: there is a table of this name at {own[path.stem].path}"
            raise Configuration(text, where=f"{path}:1", advice="Rename one of the two.")
        own[path.stem] = read_table(path)
    return MappingProxyType({**tables, **own})


def _missing(name: str, tables: Mapping[str, Table]) -> NotFound:
    return NotFound(f"no table named {name!r}", advice=f"Tables there are: {', '.join(sorted(tables))}.")
