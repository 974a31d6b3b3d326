"""What an element of a segment map is made of, and the way that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mappings.hl7v2_fhir.reading import Reading


class Made(NamedTuple):
    """What an element is made of: the raw fields, the name that it gets, and where it stands."""

    reading: Reading
    raws: list[str]
    name: str
    where: str


class Beside(dict[str, Any]):
    """Members to put side by side: an element and its extensions (`onsetDateTime`, `_onsetDateTime`)."""


Make = Callable[[Made], Any]
Factory = Callable[[str], Make]


def simple(make: Callable[[Reading, str], Any]) -> Factory:
    """A way that needs nothing under `using`."""
    return lambda using: lambda made: make(made.reading, made.raws[0])


def coding_constant(using: str) -> Make:
    """`system|code|display` as a concept."""
    system, code, *display = using.split("|")
    found = {"system": system, "code": code, **({"display": display[0]} if display else {})}
    return lambda made: {"coding": [dict(found)]}


def first(made: Made) -> str:
    """The first repetition of the first field."""
    return made.raws[0].split(made.reading.repetition, 1)[0]
