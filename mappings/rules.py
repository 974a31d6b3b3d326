"""A channel's `[[map]]` rules on an HL7 v2 message: the table's code goes before the sender's, and nothing is lost.

The mapped code takes components 1 to 3 and the original moves to 4 to 6 (its version from 7 to 8). A code that is
already of the table's system is left alone; one that the table lacks stays as it is and is reported, or holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from engine.errors import Held
from engine.formats.hl7v2 import Message, Separators, escape
from engine.model import Finding, Mapped
from engine.ports import Tables
from engine.wiring import MapRule
from mappings.lookup import SHIPPED, CodeTables
from mappings.tables import read_table

UNMAPPED = "The table has no entry for this code; the local code was kept."

#: Fields that one plan remembers, the longest that is remembered (longer ones are no codes), and how many plans.
_CACHED_FIELDS = 4096
_CACHED_CHARACTERS = 256
_PLANS = 256

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
        revision = revisions[rule.table] = tables.revision(rule.table)
        plan = _plan(message, rule, tables, revision)
        name, number, known = plan.segment, plan.number, plan.known
        work = None
        for line, row in enumerate(message.rows):
            if message.names[line] != name or len(row) <= number or not (raw := row[number]):
                continue
            field = known.get(raw)
            if field is None:
                work = work or _Work(message, rule, tables, at, plan, findings)
                work.map(line, raw)
            elif field is not raw:
                message.put(line, number, field)
    return message, tuple(findings), revisions


class _Plan:
    """A rule under one revision of its table, for one way to write messages, and fields that it has met already."""

    __slots__ = ("known", "mine", "number", "segment", "timeless")

    def __init__(self, rule: MapRule, tables: Tables) -> None:
        self.segment, self.number = _field(rule.field)
        systems = getattr(tables, "systems", None)  # the protocol has no such question
        self.mine = _names(systems(rule.table)) if systems else frozenset()
        self.timeless: Mapping[str, Mapped] = tables.table(rule.table).plain if isinstance(tables, CodeTables) else {}
        self.known: dict[str, str] = {}  # as it came: as it shall stand

    def remember(self, raw: str, field: str) -> None:
        """Keep what became of a field, when it is a small one that can be written in every character set."""
        if len(raw) <= _CACHED_CHARACTERS and field.isascii():
            if len(self.known) >= _CACHED_FIELDS:
                self.known.clear()
            self.known[raw] = raw if field == raw else field


_plans: dict[tuple[object, ...], _Plan] = {}


def _plan(message: Message, rule: MapRule, tables: Tables, revision: str) -> _Plan:
    key = (rule.field, rule.table, rule.alternate, revision, message.separators, message.charset)
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= _PLANS:
            _plans.clear()
        found = _Plan(rule, tables)
        if tables.revision(rule.table) == revision:  # else the table was reloaded meanwhile
            _plans[key] = found
    return found


class _Work:
    """One rule at work on the fields of one message that are not known yet."""

    __slots__ = ("at", "findings", "message", "plan", "rule", "tables")

    def __init__(
        self, message: Message, rule: MapRule, tables: Tables, at: int, plan: _Plan, findings: list[Finding]
    ) -> None:
        self.message = message
        self.rule = rule
        self.tables = tables
        self.at = at
        self.plan = plan
        self.findings = findings

    def map(self, line: int, raw: str) -> None:
        """Map every repetition of one field, write it when something changed, and remember what is certain."""
        mark = self.message.separators.repetition
        done = [self._repetition(part, line) for part in (raw.split(mark) if mark and mark in raw else [raw])]
        field = mark.join([text for text, _ in done])
        if all(certain for _, certain in done):
            self.plan.remember(raw, field)
        if field == raw:
            return
        if field.isascii():
            self.message.put(line, self.plan.number, field)
        else:  # the message's character set may lack a character: this says so
            self.message.set_raw(self._where(line), field)

    def _repetition(self, raw: str, line: int) -> tuple[str, bool]:
        """A repetition as it shall stand, and whether it shall at any time."""
        parts = raw.split(self.message.separators.component)
        system = parts[2].strip() if len(parts) > 2 else ""
        if system in self.plan.mine:
            return raw, True
        code = self.message.decode(parts[0]).strip()
        if not code or code == '""':
            return raw, True
        found = self.tables.lookup(self.rule.table, code, self.at)
        if not isinstance(found, Mapped):
            self._unmapped(code, line)
            return raw, False
        if any(parts[3:6]) and self.rule.alternate != "replace":
            raise Held(
                "mapping would overwrite the sender's alternate code",
                code="alternate_taken",
                where=self._where(line),
                advice='Set alternate = "replace" in the rule, or let the sender leave components 4 to 6 empty.',
            )
        return _written(parts, self.message.separators, found), self.plan.timeless.get(code) is found

    def _unmapped(self, code: str, line: int) -> None:
        where = self._where(line)
        if self.rule.unmapped == "hold":
            raise Held(
                "the table has no entry for a code that must be mapped",
                code="unmapped",
                where=where,
                advice=f"Add the code to the table {self.rule.table}, reload, and release the delivery.",
            )
        self.findings.append(Finding("unmapped", where, UNMAPPED, code, self.rule.table))

    def _where(self, line: int) -> str:
        name = self.plan.segment
        return f"{name}[{self.message.names[: line + 1].count(name)}]-{self.plan.number}"


def _written(parts: list[str], marks: Separators, found: Mapped) -> str:
    """A repetition with the mapped code in 1 to 3, the original in 4 to 6, and what came behind them."""
    new = [escape(text, marks) for text in (found.code, found.display, _name(found.system))]
    old = [*parts, "", ""][:3]
    rest = ["", parts[6], *parts[8:]] if len(parts) > 6 else []
    return marks.component.join([*new, *old, *rest]).rstrip(marks.component)


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
