"""A channel's `[[map]]` rules on an HL7 v2 message: the table's code goes before the sender's, and nothing is lost.

The mapped code takes components 1 to 3 and the original moves to 4 to 6 (its version from 7 to 8). A code that is
already of the table's system is left alone; one that the table lacks stays as it is and is reported, or holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from engine.errors import Held
from engine.formats.hl7v2 import Message, Segment, Separators, escape
from engine.model import Finding, Mapped
from engine.ports import Tables
from engine.wiring import MapRule
from mappings.lookup import SHIPPED
from mappings.tables import read_table

UNMAPPED = "The table has no entry for this code; the local code was kept."

#: Longer fields are written anew each time: they are no codes.
_CACHED_CHARACTERS = 256
_CACHED_FIELDS = 4096

Applied = tuple[Message, tuple[Finding, ...], dict[str, str]]
"""The message, what a person should know, and the revision of each table used."""


def apply_maps(message: Message, rules: Sequence[MapRule], tables: Tables, at: int) -> Applied:
    """Apply the rules in their order. The message given is changed: only the fields that a rule maps.

    Raises:
        Held: code `unmapped` where a rule holds, `alternate_taken` where the sender's alternate code would be lost.
        NotFound: when a rule names a table that does not exist.
    """
    findings: list[Finding] = []
    revisions: dict[str, str] = {}
    for rule in rules:
        revisions[rule.table] = tables.revision(rule.table)
        work = _Work(message, rule, tables, at, findings)
        number, settled = work.number, work.settled
        for occurrence, segment in enumerate(message.all(work.segment), 1):
            raw = segment[number]
            if raw and raw not in settled:
                work.map(segment, raw, occurrence)
    return message, tuple(findings), revisions


class _Work:
    """One rule at work on one message."""

    __slots__ = ("at", "findings", "message", "mine", "number", "rule", "segment", "settled", "tables")

    def __init__(self, message: Message, rule: MapRule, tables: Tables, at: int, findings: list[Finding]) -> None:
        self.message = message
        self.rule = rule
        self.tables = tables
        self.at = at
        self.findings = findings
        self.segment, self.number = _field(rule.field)
        systems = getattr(tables, "systems", None)  # asking the protocol costs more than the map
        self.mine = _names(systems(rule.table)) if systems else frozenset()
        self.settled = _settled(self.mine, message.separators)

    def map(self, segment: Segment, raw: str, occurrence: int) -> None:
        """Map every repetition of one field, and write it when something changed."""
        mark = self.message.separators.repetition
        if mark and mark in raw:
            field = mark.join([self._repetition(part, occurrence) for part in raw.split(mark)])
        else:
            field = self._repetition(raw, occurrence)
        if field == raw:
            return
        if field.isascii():
            segment.put(self.number, field)
        else:  # the message's character set may lack a character: this says so
            self.message.set_raw(f"{self.segment}[{occurrence}]-{self.number}", field)

    def _repetition(self, raw: str, occurrence: int) -> str:
        parts = raw.split(self.message.separators.component)
        system = parts[2].strip() if len(parts) > 2 else ""
        if system in self.mine:
            _settle(raw, self.settled)
            return raw
        code = self.message.decode(parts[0]).strip()
        if not code or code == '""':
            return raw
        found = self.tables.lookup(self.rule.table, code, self.at)
        if not isinstance(found, Mapped):
            self._unmapped(code, occurrence)
            return raw
        if any(parts[3:6]) and self.rule.alternate != "replace":
            raise Held(
                "mapping would overwrite the sender's alternate code",
                code="alternate_taken",
                where=self._where(occurrence),
                advice='Set alternate = "replace" in the rule, or let the sender leave components 4 to 6 empty.',
            )
        write = _written if len(raw) <= _CACHED_CHARACTERS else _written.__wrapped__
        return write(raw, self.message.separators, found.code, found.display, found.system)

    def _unmapped(self, code: str, occurrence: int) -> None:
        where = self._where(occurrence)
        if self.rule.unmapped == "hold":
            raise Held(
                "the table has no entry for a code that must be mapped",
                code="unmapped",
                where=where,
                advice=f"Add the code to the table {self.rule.table}, reload, and release the delivery.",
            )
        self.findings.append(Finding("unmapped", where, UNMAPPED, code, self.rule.table))

    def _where(self, occurrence: int) -> str:
        return f"{self.segment}[{occurrence}]-{self.number}"


@lru_cache(maxsize=4096)
def _written(raw: str, marks: Separators, code: str, display: str, system: str) -> str:
    """A repetition with the mapped code in 1 to 3, the original in 4 to 6, and what came behind them."""
    parts = raw.split(marks.component)
    new = [escape(text, marks) for text in (code, display, _name(system))]
    old = [*parts, "", ""][:3]
    rest = ["", parts[6], *parts[8:]] if len(parts) > 6 else []
    return marks.component.join([*new, *old, *rest]).rstrip(marks.component)


@lru_cache(maxsize=256)
def _settled(mine: frozenset[str], marks: Separators) -> set[str]:
    """Fields that hold a code of these systems already, as they were met."""
    return set()


def _settle(raw: str, settled: set[str]) -> None:
    if len(raw) <= _CACHED_CHARACTERS:
        if len(settled) >= _CACHED_FIELDS:
            settled.clear()
        settled.add(raw)


@lru_cache(maxsize=256)
def _field(path: str) -> tuple[str, int]:
    """`OBX-3` as a segment's name and a field's number."""
    name, _, number = path.partition("-")
    return name, int(number)


@lru_cache(maxsize=256)
def _names(systems: frozenset[str]) -> frozenset[str]:
    """What HL7 v2 may call these code systems."""
    known = _standard_names()
    return systems | {name for system in systems for name in known.get(system, ())}


def _name(system: str) -> str:
    """What HL7 v2 calls a code system (HL7 table 0396); its URI where it has no name there."""
    return _standard_names().get(system, (system,))[0]


@cache
def _standard_names() -> dict[str, tuple[str, ...]]:
    """Each code system's URI with its names in HL7 v2, the one to write first."""
    names: dict[str, tuple[str, ...]] = {}
    for name, mapped in read_table(SHIPPED / "code-systems.csv").plain.items():
        names[mapped.code] = (*names.get(mapped.code, ()), name)
    return names
