"""How far our bundles agree, element by element, with the bundles that other converters made of the same messages.

Theirs are evidence, not the law: some are no valid R4. Each atom of theirs is

* agreed: ours has it in the resource that is most alike;
* deliberate: it differs, and `differences.csv` beside this file says why;
* open: it differs, and nobody has said why yet.

An atom differs in one of five ways: `zone` (a time that is read in another time zone), `moved` (the value is in another
place of our resource), `other` (ours has another value in that place), `elsewhere` (ours has nothing in that place, and
the value in another resource), `lost` (the value is nowhere in our bundle).
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import InterlockError
from engine.formats.hl7v2 import read, split_batch
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from tests.corpus.atoms import Atom, Atoms, atoms, pairs, said, told, zones_apart
from tests.corpus.conversions import TABLES, index

CONTEXT = Conversion("corpus", timezone="UTC", sender="corpus")
"""Times without a zone are read as the other converters read them."""
LONG = 4
"""A value of so many characters that is somewhere else in a resource has hardly come there by chance."""
WORDS = frozenset({"status", "code", "system", "intent", "use", "reference", "version", "valueCode"})
"""Elements whose values are words that stand in many places."""
DIFFERENCES = Path(__file__).with_name("differences.csv")
SOURCES = "/FHIR_to_HL7-"
"""Bundles here are what a message was made from, not of: they hold more than it does."""
SHARED = frozenset({"Organization", "Practitioner", "PractitionerRole", "Location", "Device"})
"""What ours writes once a message, and others once a mention."""


class Rule(NamedTuple):
    """A difference that is meant: patterns of origin, element, kind and their value, and the reason."""

    origin: str
    element: str
    kind: str
    value: str
    reason: str

    def covers(self, origin: str, element: str, kind: str, value: str) -> bool:
        """True for a difference that this is about."""
        patterns = zip(self, (origin, element, kind, value), strict=False)
        return all(fnmatchcase(said, pattern) for pattern, said in patterns)


@dataclass(frozen=True, slots=True)
class Difference:
    """One atom of theirs that ours lacks, with what ours has in its place."""

    name: str
    origin: str
    resource: str
    kind: str
    path: str
    theirs: str
    ours: tuple[str, ...]
    rule: Rule | None

    @property
    def element(self) -> str:
        """Resource and path, as the rules name it."""
        return f"{self.resource}.{self.path}"


@cache
def rules() -> tuple[Rule, ...]:
    """The differences that are meant."""
    with DIFFERENCES.open(newline="", encoding="utf-8") as file:
        return tuple(Rule(*(row[name] for name in Rule._fields)) for row in csv.DictReader(file))


@dataclass(slots=True)
class Agreement:
    """The atoms that are expected and agreed, by origin and resource, and all differences."""

    expected: Counter[tuple[str, str]]
    agreed: Counter[tuple[str, str]]
    differences: list[Difference]
    compared: int = 0


def compare_all(shared: Path) -> Agreement:
    """Compare every message that has an expected bundle and that is converted."""
    found = Agreement(Counter(), Counter(), [])
    for row in index(shared):
        if row["has_expected_fhir"] == "yes" and SOURCES not in row["path"]:
            raw = (shared / "corpus/hl7v2" / row["path"]).read_bytes()
            theirs = json.loads((shared / "corpus/hl7v2" / row["expected_path"]).read_bytes())
            if ours := converted(raw):
                found.compared += 1
                compare(row["path"].removeprefix("open/"), row["origin_repo"], theirs, ours, found)
    return found


def converted(raw: bytes) -> list[dict[str, Any]]:
    """The resources of every message of a file; none when it is refused."""
    resources = []
    try:
        for part in split_batch(raw):
            bundle = json.loads(transaction(read(part), TABLES, CONTEXT).payload)
            resources += [entry["resource"] for entry in bundle["entry"]]
    except InterlockError:
        return []
    return resources


def compare(name: str, origin: str, theirs: dict[str, Any], ours: list[dict[str, Any]], found: Agreement) -> None:
    """Count the agreement of one message's bundles, and list how they differ."""
    left = _by_type(told([entry["resource"] for entry in theirs["entry"]], SHARED))
    right = _by_type(ours)
    everything = {word for one in ours for word in said(one)}
    for resource, expected in left.items():
        made = right.get(resource, [])
        twins = dict(pairs(expected, made, resource in SHARED))
        for n, one in enumerate(expected):
            twin = made[twins[n]] if n in twins else Atoms()
            found.expected[origin, resource] += one.total()
            found.agreed[origin, resource] += (one & twin).total()
            for atom in (one - twin).elements():
                kind, there = _kind(atom, twin, everything)
                rule = rule_for(origin, f"{resource}.{atom[0]}", kind, atom[1])
                found.differences.append(Difference(name, origin, resource, kind, *atom, there, rule))


def _by_type(resources: list[dict[str, Any]]) -> dict[str, list[Atoms]]:
    found: dict[str, list[Atoms]] = defaultdict(list)
    for resource in resources:
        found[resource["resourceType"]].append(atoms(resource))
    return found


def _kind(atom: Atom, twin: Atoms, everything: set[str]) -> tuple[str, tuple[str, ...]]:
    path, value = atom
    there = tuple(said for place, said in twin if place == path)
    if any(zones_apart(value, said) for said in there):
        return "zone", there
    if len(value) >= LONG and _leaf(path) not in WORDS and any(said == value for place, said in twin if place != path):
        return "moved", there
    if there:
        return "other", there
    return ("elsewhere" if value in everything else "lost"), ()


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def rule_for(origin: str, element: str, kind: str, value: str) -> Rule | None:
    """The first rule about a difference."""
    return next((rule for rule in rules() if rule.covers(origin, element, kind, value)), None)


def show(shared: Path) -> None:
    """Print the agreement by origin and resource, then what is open by element."""
    found = compare_all(shared)
    open_ones = [one for one in found.differences if one.rule is None]
    deliberate = Counter((one.origin, one.resource) for one in found.differences if one.rule)
    left = Counter((one.origin, one.resource) for one in open_ones)
    print(f"\n{found.compared} messages compared\n")
    print("| origin | resource | expected | agreed | deliberate | open |\n|---|---|--:|--:|--:|--:|")
    for key, count in sorted(found.expected.items()):
        print(f"| {key[0]} | {key[1]} | {count} | {found.agreed[key]} | {deliberate[key]} | {left[key]} |")
    totals = (found.expected.total(), found.agreed.total(), deliberate.total(), left.total())
    print("| all | | " + " | ".join(map(str, totals)) + " |")
    print("\n| open | origin | element | how | theirs | ours | message |\n|--:|---|---|---|---|---|---|")
    for count, first in grouped(open_ones):
        cells = (first.origin, first.element, first.kind, first.theirs[:60], " / ".join(first.ours)[:60], first.name)
        print(f"| {count} | " + " | ".join(cells) + " |")


def grouped(differences: list[Difference]) -> Iterator[tuple[int, Difference]]:
    """Differences by origin, element and kind, the most frequent first: how many, and the first of them."""
    groups: dict[tuple[str, str, str], list[Difference]] = defaultdict(list)
    for one in differences:
        groups[one.origin, one.element, one.kind].append(one)
    for group in sorted(groups.values(), key=len, reverse=True):
        yield len(group), group[0]
