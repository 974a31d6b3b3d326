"""A table of channel.toml to values: each key by its declared type, and everything else a fault.

What is wrong is left out and reported, so that one fault does not hide the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from engine.channels.faults import Faults, did_you_mean
from engine.channels.keys import Key, Kind
from engine.channels.toml_lines import KeyPath
from engine.durations import read_duration, read_size


def read_table(given: Mapping[str, Any], keys: tuple[Key, ...], path: KeyPath, faults: Faults) -> dict[str, Any]:
    """The values that are there and right, by key; everything else becomes a fault."""
    known = {key.name: key for key in keys}
    meant: set[str] = set()
    for name in given:
        if name not in known:
            faults.error((*path, name), f'unknown key "{name}"', did_you_mean(name, known))
            meant.update(get_close_matches(name, known, n=1))
    for key in keys:
        if key.required and key.name not in given and key.name not in meant:
            faults.error(path, f'"{key.name}" is missing', f"write {_written(key)}")
    values = {name: _value(known[name], value, (*path, name), faults) for name, value in given.items() if name in known}
    return {name: value for name, value in values.items() if value is not None}


def _written(key: Key) -> str:
    return f"for example {key.example if key.example.startswith('[') else f'{key.name} = {key.example}'}"


def _value(key: Key, value: Any, path: KeyPath, faults: Faults) -> Any:
    try:
        return _READERS[key.kind](key, value)
    except ValueError as error:
        wrong = did_you_mean(value, key.choices) if isinstance(value, str) and key.choices else ""
        faults.error(path, f'"{key.name}" must be {error}', wrong or _written(key))
        return None


def _text(_key: Key, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes")
    return value


def _texts(_key: Key, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ValueError("a list of texts in quotes")
    return tuple(value)


def _choice(key: Key, value: Any) -> str:
    if not isinstance(value, str) or value not in key.choices:
        raise ValueError("one of " + ", ".join(f'"{choice}"' for choice in key.choices))
    return value


def _flag(_key: Key, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _count(_key: Key, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of at least 1")
    return value


def _duration(key: Key, value: Any) -> int:
    return _amount(key, value, read_duration, 'a duration in quotes, such as "10m"')


def _size(key: Key, value: Any) -> int:
    return _amount(key, value, read_size, 'a size in quotes, such as "64MiB"')


def _amount(key: Key, value: Any, read: Callable[[str], int], wanted: str) -> int:
    try:
        amount = read(value) if isinstance(value, str) else None
    except ValueError:
        amount = None
    if amount is None:
        raise ValueError(wanted)
    if key.nonzero and not amount:
        raise ValueError("more than nothing")
    return amount


def _table(key: Key, value: Any) -> Any:
    many = key.example.startswith("[[")
    if many and (not isinstance(value, list) or not all(isinstance(part, dict) for part in value)):
        raise ValueError(f"written as {key.example}")
    if not many and not isinstance(value, dict):
        raise ValueError("a table")
    return value


def _facts_or_name(_key: Key, value: Any) -> str | dict[str, Any]:
    if not isinstance(value, str | dict):
        raise ValueError("a table of facts or the name of a Python predicate")
    return value


def _options(_key: Key, value: Any) -> dict[str, str | int | float | bool]:
    if not isinstance(value, dict) or not all(isinstance(part, str | int | float | bool) for part in value.values()):
        raise ValueError("a table of texts, numbers and flags")
    return value


_READERS: Mapping[Kind, Callable[[Key, Any], Any]] = {
    "text": _text,
    "texts": _texts,
    "choice": _choice,
    "flag": _flag,
    "count": _count,
    "duration": _duration,
    "size": _size,
    "table": _table,
    "facts or name": _facts_or_name,
    "options": _options,
}
