"""One conversion while it runs: what was sent, by reference; what has been read of it; what a person should know.

Invariant: an element that no builder took is reported by its path. So builders read only through `Writing`, and an
element of the wrong JSON type counts as not taken: it is never guessed at and never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from engine.model import Finding
from engine.ports import Conversion, Tables
from mappings.fhir_hl7v2.findings import TEXTS
from mappings.fhir_hl7v2.options import Options, read_options

Json = dict[str, Any]
"""A FHIR element or resource as it was read."""

#: What says nothing clinical and is never reported: names of types, ids, narrative, versions, and containers.
_SILENT = frozenset(
    {"resourceType", "id", "meta", "text", "contained", "reference", "type_", "userSelected", "assigner"}
)
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_NARRATIVE = frozenset({"status", "div"})


class Writing:
    """The state of one conversion. `known` are the resources by every way to refer to them."""

    __slots__ = (
        *("_covered", "_seen", "_taken", "bundle", "context", "findings", "known", "options", "resources", "tables"),
        *("subjects", "used"),
    )

    def __init__(self, parsed: Json, tables: Tables, context: Conversion) -> None:
        self.tables = tables
        self.context = context
        self.options: Options = read_options(context.options)
        self.bundle: Json = parsed if parsed.get("resourceType") == "Bundle" else {}
        self.findings: list[Finding] = []
        self.resources: list[Json] = []
        self.known: dict[str, Json] = {}
        self.used: dict[int, Json] = {}  # resources that the message is made of, by identity
        self.subjects: list[Json] = []  # the Patients that a PID was written of
        self._taken: set[tuple[int, str]] = set()  # read: what is inside was read by itself
        self._covered: set[tuple[int, str]] = set()  # with all that is inside
        self._seen: set[tuple[str, str]] = set()
        for url, resource in _resources(parsed):
            self._know(url, resource)

    def _know(self, url: str, resource: Json) -> None:
        kind, key = resource.get("resourceType"), resource.get("id")
        names = (url, f"{kind}/{key}" if isinstance(key, str) else "")
        same = next((self.known[name] for name in names if name and self.known.get(name) == resource), None)
        if same is None:
            self.resources.append(resource)
        resource = same or resource  # sent twice, it is written once
        for name in names:
            if name:
                self.known.setdefault(name, resource)
        for inner in parts_of(resource.get("contained")):
            if isinstance(inner.get("id"), str):
                self.known.setdefault(f"{id(resource)}#{inner['id']}", inner)

    def of(self, kind: str) -> list[Json]:
        """The resources of a type, in the order they came."""
        return [resource for resource in self.resources if resource.get("resourceType") == kind]

    def use(self, resource: Json) -> Json:
        """Say that the message is made of this resource: what nobody takes of it is reported."""
        self.used[id(resource)] = resource
        return resource

    # reading

    def item(self, element: Json, name: str) -> Json:
        """An element that is an object; {} when it is none. Of a list, the only one or the first."""
        value = element.get(name)
        if isinstance(value, dict):
            self._taken.add((id(element), name))
            return value
        found = self.items(element, name)
        return found[0] if found else {}

    def items(self, element: Json, name: str) -> list[Json]:
        """The objects of an element that repeats, or the one of an element that does not."""
        found = list(parts_of(element.get(name)))
        if found:
            self._taken.add((id(element), name))
        return found

    def text(self, element: Json, name: str) -> str:
        """A primitive as text, half characters replaced; "" when it is absent or no primitive."""
        value = element.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            return ""
        self._taken.add((id(element), name))
        return self.whole(value) if isinstance(value, str) else str(value)

    def texts(self, element: Json, name: str) -> list[str]:
        """The texts of an element that repeats."""
        value = element.get(name)
        parts = value if isinstance(value, list) else [value]
        found = [self.whole(part) for part in parts if isinstance(part, str) and part]
        if found:
            self._taken.add((id(element), name))
        return found

    def flag(self, element: Json, name: str) -> bool | None:
        """A boolean; None when there is none."""
        value = element.get(name)
        if not isinstance(value, bool):
            return None
        self._taken.add((id(element), name))
        return value

    def skip(self, element: Json, *names: str) -> None:
        """Say that all that these elements hold is said elsewhere in the message."""
        for name in names:
            self._covered.add((id(element), name))

    def whole(self, text: str) -> str:
        """Text without half characters, which JSON can hold and no encoding can write."""
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            self.find("character_replaced", "")
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def extension(self, element: Json, url: str) -> list[Json]:
        """The extensions of that URL; they count as taken when their value is."""
        found = []
        for extension in parts_of(element.get("extension")):
            if extension.get("url") == url:
                self._taken.add((id(element), "extension"))
                self.skip(extension, "url")
                found.append(extension)
        return found

    def beside(self, element: Json, name: str) -> Json:
        """What stands beside a primitive: its extensions."""
        value = element.get("_" + name)
        if isinstance(value, dict):
            self._taken.add((id(element), "_" + name))
            return value
        return {}

    def target(self, element: Json, name: str, owner: Json) -> tuple[Json, Json]:
        """The resource that a reference leads to ({} when it is not there) and the reference itself."""
        reference = self.item(element, name)
        return self.follow(reference, owner), reference

    def follow(self, reference: Json, owner: Json) -> Json:
        """The resource that a reference leads to; {} and a finding when it is not there."""
        url = reference.get("reference")
        self.skip(reference, "type")
        if not isinstance(url, str):
            return {}
        found = self.look(url, owner)
        if found is None:
            self.find("reference_not_found", kind_of(owner))
            return {}
        self.skip(reference, "display", "identifier")
        return self.use(found)

    def look(self, url: str, owner: Json) -> Json | None:
        """The resource of a reference's URL, without a word of it in the report; None when it is not there."""
        found = self.known.get(f"{id(owner)}{url}" if url.startswith("#") else url)
        if found is None and "/_history/" in url:
            found = self.known.get(url.partition("/_history/")[0])
        if found is None and url.count("/") > 1:
            found = self.known.get("/".join(url.split("/")[-2:])) if not self.bundle else None
        return found

    # reporting

    def find(self, code: str, where: str, subject: str = "") -> None:
        """Report something that a person should know; once a place."""
        if (code, where) not in self._seen or subject:
            self._seen.add((code, where))
            self.findings.append(Finding(code, where, TEXTS[code], subject))

    def report_rest(self) -> None:
        """Report every element of the used resources that nobody took, and every resource that nobody used."""
        for resource in self.used.values():
            for path in self._left(resource, kind_of(resource)):
                self.find("element_left_out", path)
        for resource in self.resources:
            if id(resource) not in self.used:
                self.find("resource_left_out", kind_of(resource))

    def _left(self, element: Json, path: str, depth: int = 0) -> Iterator[str]:
        for name, value in element.items():
            if name in _SILENT and (name != "text" or _is_narrative(value)):
                continue
            if value in (None, "", [], {}) or (id(element), name) in self._covered:
                continue
            place = f"{path}.{_shown(name)}"
            if name == "extension" and all(part.get("url") == _ABSENT for part in parts_of(value)):
                continue
            if (id(element), name) not in self._taken:
                yield place
            elif name == "extension":
                left = (part for part in parts_of(value) if (id(part), "url") not in self._covered)
                yield from (place for part in left if part.get("url") != _ABSENT)
                taken = [part for part in parts_of(value) if (id(part), "url") in self._covered]
                for part in taken:
                    yield from self._left(part, place, depth + 1)
            elif depth < _DEEPEST:
                for part in parts_of(value):
                    yield from self._left(part, place, depth + 1)


_DEEPEST = 16


def word(element: Json, name: str) -> str:
    """A text as it stands, to decide by and not to write; "" when it is none."""
    value = element.get(name)
    return value if isinstance(value, str) else ""


def kind_of(resource: Json) -> str:
    """A resource's type as a finding may show it."""
    return _shown(word(resource, "resourceType"))


def _shown(name: str) -> str:
    """An element's name as a finding may show it: one that is no name of FHIR could hold a patient's data."""
    plain = name.removeprefix("_")
    return name if plain.isascii() and plain.isalnum() and len(plain) <= 64 else "?"


def _is_narrative(value: Any) -> bool:
    return isinstance(value, dict) and not value.keys() - _NARRATIVE - {"id", "extension"}


def parts_of(value: Any) -> Iterator[Json]:
    """The objects of an element, whether it repeats or not."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        yield from (part for part in value if isinstance(part, dict))


def _resources(parsed: Json) -> Iterator[tuple[str, Json]]:
    """Every resource with its full URL: those of a Bundle, or the one that was sent alone."""
    if parsed.get("resourceType") != "Bundle":
        yield "", parsed
        return
    for entry in parts_of(parsed.get("entry")):
        url, resource = entry.get("fullUrl"), entry.get("resource")
        if isinstance(resource, dict):
            yield url if isinstance(url, str) else "", resource
