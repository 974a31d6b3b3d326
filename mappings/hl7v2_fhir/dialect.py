"""How one sender writes codes: parsed test codes, flags, units and ranges, kept from message to message.

Only small texts that read like configuration are kept (codes, units, flags, ranges, staff), never anything of a
patient, and only so many of them: a cache that is full starts again. What is kept is shared between messages: nobody
may change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote
from uuid import UUID

from engine.errors import NotFound
from engine.formats.hl7v2 import Separators
from engine.model import Mapped
from engine.ports import Tables
from mappings.hl7v2_fhir.vocabulary import CODE_SYSTEMS, IDENTIFIER_SYSTEMS, TERMINOLOGY

#: Entries of one cache, senders remembered, and the longest text that is remembered.
CACHE_ENTRIES = 4096
DIALECTS = 256
CACHED_CHARACTERS = 256

_T = TypeVar("_T")


class Key(NamedTuple):
    """What a dialect depends on."""

    separators: Separators
    charset: str  # hexadecimal escapes are read in it
    sender: str
    code_systems: str  # table revisions
    authorities: str


class Dialect:
    """One sender's code systems and authorities, and what was parsed with them."""

    __slots__ = (
        *("at", "authorities", "caches", "patterns", "plain_times", "revisions", "sender", "senders_own", "systems"),
        "tables",
    )

    def __init__(self, key: Key, tables: Tables, at: int) -> None:
        self.sender = key.sender
        self.tables = tables
        self.at = at
        revisions = {"code-systems": key.code_systems, "authorities": key.authorities}
        self.revisions = {name: revision for name, revision in revisions.items() if revision}
        self.caches: dict[Callable[..., Any], dict[Any, Any]] = {}
        self.patterns: dict[tuple[str, ...], Any] = {}
        self.plain_times = set("+-.").isdisjoint("".join(key.separators))  # else an escape might hide in a time
        self.systems: dict[str, str] = {}
        self.authorities: dict[str, str] = {}
        self.senders_own = self.authority("", "", "")

    def cached(self, parse: Callable[[Any, str], _T], reading: Any, raw: str) -> _T:
        """`parse(reading, raw)`, remembered when the text is small. `parse` must depend on the dialect only."""
        cache = self.caches.get(parse)
        if cache is None:
            cache = self.caches[parse] = {}
        found: _T | None = cache.get(raw)
        if found is None:
            found = parse(reading, raw)
            if len(raw) <= CACHED_CHARACTERS:
                if len(cache) >= CACHE_ENTRIES:
                    cache.clear()
                cache[raw] = found
        return found

    def remember(self, key: tuple[str, ...], pattern: _T) -> _T:
        """Keep a result pattern under its fields."""
        if sum(map(len, key)) <= CACHED_CHARACTERS:
            if len(self.patterns) >= CACHE_ENTRIES:
                self.patterns.clear()
            self.patterns[key] = pattern
        return pattern

    def code_system(self, name: str) -> str:
        """The URI of a coding system as HL7 table 0396 names it; a local one stays in the sender's scope."""
        found = self.systems.get(name)
        if found is None:
            found = self._code_system(name)
            if len(self.systems) < CACHE_ENTRIES:
                self.systems[name] = found
        return found

    def authority(self, namespace: str, universal: str, kind: str) -> str:
        """The URI of an assigning authority (HD): universal ids as what they are, a bare namespace by configuration."""
        key = f"{namespace}&{universal}&{kind}"
        found = self.authorities.get(key)
        if found is None:
            found = self._authority(namespace, universal, kind.upper())
            if len(self.authorities) < CACHE_ENTRIES:
                self.authorities[key] = found
        return found

    def _code_system(self, name: str) -> str:
        if mapped := self._lookup("code-systems", name):
            return mapped
        if known := CODE_SYSTEMS.get(name):
            return known
        if name.startswith("HL7") and len(name) == 7 and name[3:].isdigit():
            return f"{TERMINOLOGY}v2-{name[3:]}"
        if is_oid(name):
            return f"urn:oid:{name}"
        if is_uri(name):
            return name
        return f"urn:interlock:codesystem:{quote(self.sender, safe='')}:{quote(name, safe='')}"

    def _authority(self, namespace: str, universal: str, kind: str) -> str:
        if kind == "ISO" and is_oid(universal):
            return IDENTIFIER_SYSTEMS.get(universal) or f"urn:oid:{universal}"
        if kind in ("UUID", "GUID") and (known := uuid_of(universal)):
            return f"urn:uuid:{known}"
        if kind in ("DNS", "URI") and universal and " " not in universal:
            return universal
        if universal and kind not in ("", "L", "M", "N", "ISO", "RANDOM"):
            return f"urn:interlock:authority:{quote(kind, safe='')}:{quote(universal, safe='')}"
        name = "&".join(part for part in (namespace, universal) if part)
        configured = self._lookup("authorities", f"{self.sender}|{name}") or self._lookup("authorities", name)
        scoped = f"urn:interlock:authority:{quote(self.sender, safe='')}"
        return configured or (f"{scoped}:{quote(name, safe='')}" if name else scoped)

    def _lookup(self, table: str, code: str) -> str:
        if not code or table not in self.revisions:
            return ""
        answer = self.tables.lookup(table, code, self.at)
        return answer.code if isinstance(answer, Mapped) else ""


_dialects: dict[tuple[Separators, str, str, str, str], Dialect] = {}


def dialect_of(separators: Separators, charset: str, sender: str, tables: Tables, at: int) -> Dialect:
    """The dialect of a sender under the tables as they are now; effective dates in them count as of the first use."""
    key = (separators, charset, sender, _revision(tables, "code-systems"), _revision(tables, "authorities"))
    found = _dialects.get(key)
    if found is None:
        if len(_dialects) >= DIALECTS:
            _dialects.clear()
        found = _dialects[key] = Dialect(Key(*key), tables, at)
    return found


def _revision(tables: Tables, table: str) -> str:
    try:
        return tables.revision(table)
    except NotFound:
        return ""


def is_oid(text: str) -> bool:
    """True for an object identifier: digits and dots, at least three arcs, the first 0 to 2, no leading zeros."""
    arcs = text.split(".")
    return len(arcs) > 2 and arcs[0] in ("0", "1", "2") and all(_is_arc(arc) for arc in arcs)


def _is_arc(arc: str) -> bool:
    return arc.isascii() and arc.isdigit() and (arc == "0" or arc[0] != "0")


def uuid_of(text: str) -> str:
    """The UUID that a text is, as RFC 9562 writes it; "" for any other text."""
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def is_uri(text: str) -> bool:
    """True for an absolute URI without spaces."""
    scheme, colon, rest = text.partition(":")
    return bool(colon and rest and scheme.isalpha() and len(scheme) > 2 and " " not in text)
