"""Resources as atoms, (path, value) pairs without order, so that two bundles can be compared element by element.

Left out is what no two converters share: ids, URLs of entries, `meta`, narrative, what a reference's target is called,
and extensions that only their author knows. A time with a zone is compared as the moment that it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Atom = tuple[str, str]
"""A path without indexes, such as `name.given`, and the value there as text."""
Atoms = Counter[Atom]

_STANDARD = re.compile(r"https?://(www\.)?hl7\.org/fhir/")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")
_LEFT_OUT = frozenset({"resourceType", "id", "meta", "text", "implicitRules"})


def atoms(resource: dict[str, Any]) -> Atoms:
    """Every atom of a resource, and how often it is there."""
    return Counter(_atoms({name: value for name, value in resource.items() if name not in _LEFT_OUT}, ""))


def _atoms(element: Any, path: str) -> Iterator[Atom]:
    if isinstance(element, dict):
        for name, value in element.items():
            if name in ("extension", "modifierExtension"):
                yield from _extensions(value, path)
            elif name == "reference" and isinstance(value, str):
                yield f"{path}.reference".lstrip("."), target(value)
            elif name != "id":
                yield from _atoms(value, f"{path}.{name}".lstrip("."))
    elif isinstance(element, list):
        for value in element:
            yield from _atoms(value, path)
    elif element not in ("", None):
        yield path, value_of(element)


def _extensions(extensions: Any, path: str) -> Iterator[Atom]:
    """Those of HL7; all others are their author's."""
    for one in extensions:
        url = one.get("url", "")
        if _STANDARD.match(url):
            inside = {name: value for name, value in one.items() if name != "url"}
            yield from _nested(inside, f"{path}.extension({url.rpartition('/')[2]})".lstrip("."))


def _nested(inside: dict[str, Any], path: str) -> Iterator[Atom]:
    for part in inside.pop("extension", ()):
        name = part.get("url", "").rpartition("/")[2]
        yield from _atoms({key: value for key, value in part.items() if key != "url"}, f"{path}.{name}")
    yield from _atoms(inside, path)


def said(element: Any, name: str = "") -> Iterator[str]:
    """Every value of a resource, its extensions too; of a name that is only shown, also its words."""
    if isinstance(element, dict):
        for key, value in element.items():
            yield from said(value, key)
    elif isinstance(element, list):
        for value in element:
            yield from said(value, name)
    else:
        yield value_of(element)
        if name == "display":
            yield from str(element).split()


def target(reference: str) -> str:
    """The type that a reference leads to; a URN says none."""
    kind = reference.split("/")[-2] if "/" in reference else ""
    return kind if kind.isalpha() else "?"


def value_of(value: Any) -> str:
    """A primitive as comparable text: moments in UTC, numbers without trailing zeros, runs of blanks as one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return format(Decimal(str(value)).normalize(), "f")
    text = " ".join(str(value).split())
    if _MOMENT.fullmatch(text):
        moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
        return moment.isoformat().replace("+00:00", "Z")
    return text


def pairs(expected: list[Atoms], made: list[Atoms], shared: bool) -> Iterator[tuple[int, int]]:
    """Which of ours is which of theirs, the most alike first, and those alike in nothing in their order.

    `shared` ones may be the same of ours several times, and are never paired when nothing is alike.
    """
    scores = sorted(
        ((-(left & right).total(), n, m) for n, left in enumerate(expected) for m, right in enumerate(made)),
    )
    taken: set[int] = set()
    used: set[int] = set()
    for score, n, m in scores:
        if (score or not shared) and n not in taken and (shared or m not in used):
            taken.add(n)
            used.add(m)
            yield n, m


def zones_apart(left: str, right: str) -> bool:
    """True for two moments that differ as one clock reading in two time zones does."""
    if not (left.endswith("Z") and right.endswith("Z")):
        return False
    try:
        apart = abs((datetime.fromisoformat(left) - datetime.fromisoformat(right)).total_seconds())
    except ValueError:
        return False
    return 0 < apart <= 14 * 3600 and apart % 900 == 0


def told(resources: list[dict[str, Any]], mentioned: frozenset[str]) -> list[dict[str, Any]]:
    """The resources but for those of the types in `mentioned` that nothing clinical leads to.

    Such a one is the sender or receiver in a MessageHeader, the agent of a Provenance, or the assigner of an
    identifier: ours says an assigner by the identifier's system.
    """
    by_url = {f"{one['resourceType']}/{one.get('id')}": one for one in resources}
    waiting = [one for one in resources if one["resourceType"] not in mentioned | {"MessageHeader", "Provenance"}]
    reached = {id(one) for one in waiting}
    while waiting:
        for reference in _references(waiting.pop()):
            one = by_url.get(reference)
            if one is not None and id(one) not in reached:
                reached.add(id(one))
                waiting.append(one)
    return [one for one in resources if id(one) in reached or one["resourceType"] not in mentioned]


def _references(element: Any) -> Iterator[str]:
    if isinstance(element, dict):
        for name, value in element.items():
            if name == "reference" and isinstance(value, str):
                yield value
            elif name != "assigner":
                yield from _references(value)
    elif isinstance(element, list):
        for value in element:
            yield from _references(value)
