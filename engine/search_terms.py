"""The terms of a search as people and scripts write them, read into a `Search`.

Invariant: a term that is not known or cannot be read is refused with what would have been right, never left out: a
search that quietly ignores a term shows the wrong messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from engine.durations import read_duration
from engine.errors import Configuration
from engine.model import MICROSECONDS, DeliveryState, MessageState, read_id
from engine.search import MOST, Search
from engine.wiring import DAY

STATES = tuple(dict.fromkeys(state.value for state in (*MessageState, *DeliveryState)))
LONGEST_TERM = 200


def read_terms(given: Mapping[str, str], allowed: tuple[str, ...], now: int) -> Search:
    """The search that the given texts name; empty ones are not asked.

    Raises:
        Configuration: (code `term`) naming the first term that cannot be read, never its value.
    """
    for name in given:
        if name not in allowed:
            raise _refused(name, "it is not known", f"One of {', '.join(allowed)}.")
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text:
            try:
                values[name] = _READERS[name](text.strip(), now)
            except ValueError as error:
                raise _refused(name, str(error), "") from None
    return Search(**values)


def _moment(text: str, now: int) -> int:
    """A time: ISO 8601 (without an offset it is UTC), or a span back from now such as 2h or 3d."""
    if text[-1].isalpha() and text[-1] != "Z":
        return now - read_duration(text.removeprefix("-"))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("it is neither a time such as 2026-01-05T12:00Z nor a span such as 2h") from None
    return min(now + DAY, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * MICROSECONDS))


def _state(text: str, now: int) -> str:
    word = text.replace("_", " ").replace("-", " ")
    if word not in STATES:
        raise ValueError(f"it is none of {', '.join(STATES)}")
    return word


def _limit(text: str, now: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        raise ValueError(f"it is no number from 1 to {MOST}")
    return int(text)


def _text(text: str, now: int) -> str:
    if len(text) > LONGEST_TERM:
        raise ValueError(f"it is longer than {LONGEST_TERM} characters")
    return text


_READERS: Mapping[str, Callable[[str, int], Any]] = {
    "channel": _text,
    "type": _text,
    "control_id": _text,
    "patient": _text,
    "state": _state,
    "since": _moment,
    "until": _moment,
    "limit": _limit,
    "before": lambda text, now: read_id(text),
}
TERMS = tuple(_READERS)


def _refused(name: str, why: str, advice: str) -> Configuration:
    known = f'reading the term "{name}": {why}' if name in _READERS else f"reading a term: {why}"
    return Configuration(known, code="term", advice=advice)
