"""The knobs of connectors and conversions: declared once, read strictly, listed by `check` and by the documentation.

Each connector module exports SOURCE_KNOBS and DESTINATION_KNOBS, each module of conversions KNOBS. An unknown knob or a
value of the wrong kind is a fault in the channel and never ignored: a misspelt limit would otherwise silently be the
default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from engine.durations import read_duration, read_size
from engine.errors import Configuration

Kind = Literal["text", "list", "choice", "count", "number", "flag", "duration", "size", "file"]
Given = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Knob:
    """One option of a connector or a conversion. `default` is written as a channel would; `choices` are for "choice".

    What `read_options` gives: text and choice as str, list (comma separated) as tuple[str, ...], count as int (0 or
    more), number as float, flag as bool, duration as int microseconds, size as int bytes, file as Path or None.
    """

    name: str
    kind: Kind
    default: Given
    help: str
    choices: tuple[str, ...] = ()


def read_options(options: Mapping[str, Given], knobs: Iterable[Knob], where: str) -> dict[str, Any]:
    """Every knob's value, read to its kind; `where` (channel and part, or file:line) locates a fault.

    Raises:
        Configuration: for a name that is no knob, with the nearest name, and for a value of the wrong kind.
    """
    known = {knob.name: knob for knob in knobs}
    for name in options:
        if name not in known:
            raise _unknown(name, known, where)
    return {name: _read(knob, options.get(name, knob.default), where) for name, knob in known.items()}


def _unknown(name: str, known: Mapping[str, Knob], where: str) -> Configuration:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    advice = f'Did you mean "{near[0]}"?' if near else f"It takes: {', '.join(sorted(known)) or 'no options'}."
    return Configuration(f'reading options: there is no option "{name}"', where=where, advice=advice)


def _read(knob: Knob, value: Given, where: str) -> Any:
    try:
        return _READERS[knob.kind](knob, value)
    except ValueError as error:
        raise Configuration(
            f'reading option "{knob.name}": {error}', where=where, advice=f"{knob.name}: {knob.help}"
        ) from None


def _text(knob: Knob, value: Given) -> str:
    if not isinstance(value, str):
        raise ValueError("it takes text in quotes")
    return value


def _list(knob: Knob, value: Given) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in _text(knob, value).split(",")) if part)


def _choice(knob: Knob, value: Given) -> str:
    if value not in knob.choices:
        raise ValueError("it takes one of " + ", ".join(f'"{choice}"' for choice in knob.choices))
    return str(value)


def _count(knob: Knob, value: Given) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("it takes a whole number, 0 or more")
    return value


def _number(knob: Knob, value: Given) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it takes a number")
    return float(value)


def _flag(knob: Knob, value: Given) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it takes true or false")
    return value


def _duration(knob: Knob, value: Given) -> int:
    return read_duration(value if isinstance(value, str) else "")


def _size(knob: Knob, value: Given) -> int:
    return read_size(value if isinstance(value, str) else "")


def _file(knob: Knob, value: Given) -> Path | None:
    text = _text(knob, value)
    return Path(text) if text else None


_READERS: Mapping[Kind, Callable[[Knob, Given], Any]] = {
    "text": _text,
    "list": _list,
    "choice": _choice,
    "count": _count,
    "number": _number,
    "flag": _flag,
    "duration": _duration,
    "size": _size,
    "file": _file,
}
