"""One message while it is converted: its delimiters, its sender, its clock, and what has been made of it so far.

Everything a resource builder needs comes from here, so that builders are plain functions of (reading, fields).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from orjson import dumps

from engine.formats.hl7v2 import Message
from engine.model import Finding
from engine.ports import Conversion, Tables
from mappings.hl7v2_fhir.clock import offset_of
from mappings.hl7v2_fhir.dialect import Dialect, dialect_of
from mappings.hl7v2_fhir.findings import TEXTS
from mappings.hl7v2_fhir.ids import JOIN, Scope
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json

Row = list[str]
"""A segment's raw fields; index n is field n; always longer than any field that is asked for."""

#: Empty fields behind a row's own, so that no builder has to count: more than any field number that is asked for.
PADDING = [""] * 81
_NEVER = "\uffff"  # stands for a delimiter that the message does not declare: no text holds this noncharacter
_CONTROLS = {code: "�" for code in (*range(9), 11, 12, *range(14, 32), 127)}


class Reading:
    """The state of one conversion."""

    __slots__ = (
        *("actors", "around", "component", "context", "counts", "decode", "dialect", "entries", "escape", "field"),
        *("findings", "header", "kinds", "latest", "maps", "mark", "message_offset", "meta", "more"),
        *("people", "plain_times", "repetition", "resources", "rows", "scopes", "sender", "separators"),
        *("subcomponent", "times", "unfinished", "zone"),
    )

    def __init__(self, message: Message, tables: Tables, context: Conversion) -> None:
        self.rows = message.rows
        self.header = header = message.rows[0] + PADDING
        self.separators = marks = message.separators
        self.component, self.repetition = marks.component or _NEVER, marks.repetition or _NEVER
        self.field, self.subcomponent, self.escape = marks.field, marks.subcomponent or _NEVER, marks.escape or _NEVER
        self.decode = message.decode
        self.context = context
        self.sender = sender = context.sender or self.part(header[4]) or self.part(header[3]) or "unknown"
        self.dialect: Dialect = dialect_of(marks, message.charset, sender, tables, context.received_at)
        self.plain_times = self.dialect.plain_times
        self.zone = ZoneInfo(context.timezone) if context.timezone else None
        self.message_offset = offset_of(self.part(header[7]))
        self.findings: list[Finding] = []
        self.entries: dict[str, Json | str] = {}  # text is JSON already
        self.resources: dict[str, Json] = {}
        self.kinds: dict[str, int] = {}  # how many resources of each type
        self.times: dict[str, tuple[str, str]] = {}
        self.people: dict[str, list[Json]] = {}
        self.actors: dict[tuple[str, ...], list[Json]] = {}
        self.counts: dict[str, int] = {}
        self.scopes: dict[tuple[str, ...], Scope] = {}
        self.latest: dict[str, Json] = {}  # by type the resource that was written last: what a map may add to
        self.unfinished: list[Any] = []  # what only the whole message says; each has a method `finish()`
        self.maps: Mapping[str, Sequence[Any]] = {}  # the segment maps of this conversion, by segment
        self.more: Mapping[str, Sequence[Any]] = {}  # those of the channel that no shipped one has the name of
        self.around: dict[str, Json] = {}  # what a segment's resource may refer to: `patient`, `encounter`, `order`
        self.meta: Json | None = _tags(self.part(header[11]))
        self.mark = members({"meta": self.meta}) if self.meta else ""

    @property
    def own_name(self) -> str:
        """What names things without a number: the message's control id, else a hash of all that it says."""
        said = self.part(self.header[10])
        return said or blake2b(repr(self.rows).encode("utf-8", "replace"), digest_size=16).hexdigest()

    def part(self, raw: str) -> str:
        """The first component of a field's first repetition, decoded."""
        if not raw or raw.isalnum():
            return raw
        if self.repetition in raw:
            raw = raw.split(self.repetition, 1)[0]
        if self.component in raw:
            raw = raw.split(self.component, 1)[0]
        return self.text(raw)

    def single(self, raw: str) -> str:
        """As `part`, of a field that says one thing: repetitions that differ are no code, but all their text."""
        if self.repetition in raw and len({self.part(one) for one in self.repetitions(raw)}) > 1:
            return self.text(raw)
        return self.part(raw)

    def parts(self, raw: str, least: int) -> list[str]:
        """The components of one repetition, still encoded, with empty ones behind up to `least`."""
        parts = raw.split(self.component)
        missing = least - len(parts)
        return parts + [""] * missing if missing > 0 else parts

    def texts(self, raw: str, least: int) -> list[str]:
        """The components of one repetition, decoded and trimmed, with empty ones behind up to `least`."""
        parts = raw.split(self.component)
        if self.escape in raw or '"' in raw or not raw.isprintable():
            parts = [self.text(part) for part in parts]
        elif " " in raw:
            parts = [part.strip() for part in parts]
        missing = least - len(parts)
        return parts + [""] * missing if missing > 0 else parts

    def repetitions(self, raw: str) -> list[str]:
        """The repetitions of a field that say something."""
        if self.repetition not in raw:
            return [raw] if raw and raw != '""' else []
        return [part for part in raw.split(self.repetition) if part and part != '""']

    def text(self, raw: str) -> str:
        """Decoded, trimmed text; the null value `""` says nothing."""
        if not raw or raw.isalnum():
            return raw
        if raw == '""':
            return ""
        if self.escape in raw or not raw.isprintable():
            raw = self.exact(raw)
        return raw.strip()

    def exact(self, raw: str) -> str:
        """Decoded text with its spaces; control characters that FHIR forbids become U+FFFD."""
        if self.escape in raw:
            raw = self.decode(raw)
        return raw if raw.isprintable() else raw.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)

    def find(self, code: str, where: str, subject: str = "") -> None:
        """Report something that a person should know."""
        self.findings.append(Finding(code, where, TEXTS[code], subject))

    def numbered(self, name: str) -> str:
        """The name with how often it was there before in this message: what tells repeated orders apart."""
        count = self.counts.get(name, 0)
        self.counts[name] = count + 1
        return f"{name}{JOIN}{count}"

    def scope(self, *parts: str) -> Scope:
        """The scope of that name in this message."""
        found = self.scopes.get(parts)
        if found is None:
            found = self.scopes[parts] = Scope(*parts)
        return found

    def put(self, resource: Json) -> Json:
        """Add a resource to write; a reference to it. Writing one id twice would fail the transaction: first wins."""
        key, kind = resource["id"], resource["resourceType"]
        url = f"{kind}/{key}"
        if url not in self.resources:
            self.resources[url] = resource
            self.count(kind)
            if self.meta is not None:
                resource["meta"] = self.meta
            request = {"method": "PUT", "url": url}
            self.entries[url] = {"fullUrl": "urn:uuid:" + key, "resource": resource, "request": request}
        self.latest[kind] = self.resources[url]
        return {"reference": url}

    def put_beside(self, resource: Json) -> Json:
        """Add a resource that no later segment may add to."""
        latest = self.latest.get(resource["resourceType"])
        made = self.put(resource)
        if latest is not None:
            self.latest[resource["resourceType"]] = latest
        return made

    def count(self, kind: str) -> None:
        """Count a resource that is written."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def put_observation(self, key: str, text: str, known: Json) -> Json:
        """Add an Observation whose members are JSON text already; `known` is what is asked of it later."""
        url = "Observation/" + key
        if url not in self.resources:
            self.resources[url] = known
            self.kinds["Observation"] = self.kinds.get("Observation", 0) + 1
            self.entries[url] = (
                f'{{"fullUrl":"urn:uuid:{key}","resource":{{"resourceType":"Observation","id":"{key}"{text}{self.mark}}},'
                f'"request":{{"method":"PUT","url":"{url}"}}}}'
            )
        return {"reference": url}

    def add(self, url: str, later: Json) -> None:
        """Add members to a resource that was put as text."""
        resource, request, rest = str(self.entries[url]).rpartition('},"request":{')
        self.entries[url] = resource + members(later) + request + rest


def members(element: Json) -> str:
    """The members of an element as JSON text, a comma before each."""
    return "," + dumps(element).decode()[1:-1] if element else ""


def compact(resource: Json) -> Json:
    """A resource without its empty elements: FHIR forbids empty strings, arrays and objects."""
    return {name: value for name, value in resource.items() if value or value is False}


def _tags(processing: str) -> Json | None:
    """Training and debugging messages mark everything they write, so that it cannot pass for production."""
    if processing in ("", "P"):
        return None
    return {"tag": [{"system": TERMINOLOGY + "v2-0103", "code": processing}]}
