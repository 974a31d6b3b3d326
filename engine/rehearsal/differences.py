"""How two outputs differ, place by place: HL7 v2 by field paths, JSON by pointers, anything else by lines.

Only what differs is said, at the smallest place that differs, so that a person can judge it at a glance.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import Any

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs. The values may be a patient's data: show them, never log them."""

    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        """One line: the place, what was expected, what came."""
        return f"{self.path} expected {self.expected} actual {self.actual}"


def hl7_differences(expected: bytes, actual: bytes) -> Iterator[Difference]:
    """By path as analysts write it, such as `OBX[2]-3[1].4`. Line ends are not compared; delimiters are (MSH-2)."""
    wanted, came = _segments(expected), _segments(actual)
    marks = _marks(wanted)
    if _marks(came) != marks:
        yield Difference("MSH-2", marks, _marks(came))
        return
    for name, number in dict.fromkeys([*_numbered(wanted), *_numbered(came)]):
        mine, theirs = _numbered(wanted).get((name, number)), _numbered(came).get((name, number))
        many = number > 1 or (name, 2) in _numbered(wanted) or (name, 2) in _numbered(came)
        yield from _segment(f"{name}[{number}]" if many else name, mine, theirs, marks)
    order, order_came = [s[:3] for s in wanted], [s[:3] for s in came]
    if order != order_came and Counter(order) == Counter(order_came):
        yield Difference("segments", " ".join(order), " ".join(order_came))


def _segments(raw: bytes) -> list[str]:
    text = raw.decode("utf-8", "backslashreplace").replace("\r\n", "\r").replace("\n", "\r")
    return [line for line in text.split("\r") if line.strip()]


def _marks(segments: Sequence[str]) -> str:
    """The delimiters, the field separator first; HL7's own where the message has no header."""
    header = segments[0] if segments else ""
    return (
        header[3] + header[4:].split(header[3], 1)[0]
        if header[:3] in {"MSH", "FHS", "BHS"} and header[3:]
        else "|^~\\&"
    )


def _numbered(segments: Sequence[str]) -> dict[tuple[str, int], str]:
    counts: Counter[str] = Counter()
    numbered: dict[tuple[str, int], str] = {}
    for segment in segments:
        counts[segment[:3]] += 1
        numbered[segment[:3], counts[segment[:3]]] = segment
    return numbered


def _segment(path: str, expected: str | None, actual: str | None, marks: str) -> Iterator[Difference]:
    if expected is None or actual is None:
        yield Difference(path, expected or ABSENT, actual or ABSENT)
        return
    first = 1 if expected[:3] in {"MSH", "FHS", "BHS"} else 0  # MSH-1 is the separator itself
    pairs = zip_longest(expected.split(marks[0]), actual.split(marks[0]), fillvalue="")
    for number, (mine, theirs) in enumerate(pairs):
        if mine != theirs:
            yield from _field(f"{path}-{number + first}", mine, theirs, marks)


def _field(path: str, expected: str, actual: str, marks: str) -> Iterator[Difference]:
    repetition = marks[2] if len(marks) > 2 else ""
    mine, theirs = _split(expected, repetition), _split(actual, repetition)
    for number, (one, other) in enumerate(zip_longest(mine, theirs, fillvalue=""), start=1):
        if one != other:
            place = f"{path}[{number}]" if len(mine) > 1 or len(theirs) > 1 else path
            yield from _parts(place, one, other, [marks[1], marks[4] if len(marks) > 4 else ""])


def _parts(path: str, expected: str, actual: str, marks: list[str]) -> Iterator[Difference]:
    """Components, then sub-components, as deep as both sides have them."""
    mark = marks[0] if marks else ""
    if not mark or (mark not in expected and mark not in actual):
        if marks:
            yield from _parts(path, expected, actual, marks[1:])
        else:
            yield Difference(path, expected or ABSENT, actual or ABSENT)
        return
    pairs = zip_longest(expected.split(mark), actual.split(mark), fillvalue="")
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            yield from _parts(f"{path}.{number}", one, other, marks[1:])


def _split(text: str, mark: str) -> list[str]:
    return text.split(mark) if mark else [text]


def json_differences(expected: bytes, actual: bytes) -> Iterator[Difference]:
    """By JSON pointer (RFC 6901). The order of keys does not count; 1.10 and 1.1 are two numbers."""
    try:
        mine, theirs = (json.loads(raw, parse_float=Decimal) for raw in (expected, actual))
    except ValueError:
        yield from text_differences(expected, actual)
        return
    yield from _values("", mine, theirs)


def _values(pointer: str, expected: Any, actual: Any) -> Iterator[Difference]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in dict.fromkeys([*expected, *actual]):
            place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _values(place, expected.get(key, _NOTHING), actual.get(key, _NOTHING))
    elif isinstance(expected, list) and isinstance(actual, list):
        for number, (one, other) in enumerate(zip_longest(expected, actual, fillvalue=_NOTHING)):
            yield from _values(f"{pointer}/{number}", one, other)
    elif type(expected) is not type(actual) or _shown(expected) != _shown(actual):
        yield Difference(pointer or "/", _shown(expected), _shown(actual))


_NOTHING = object()


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return ABSENT
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str)


def text_differences(expected: bytes, actual: bytes) -> Iterator[Difference]:
    """By line number, for formats without a finer one."""
    lines = zip_longest(
        expected.decode("utf-8", "replace").splitlines(), actual.decode("utf-8", "replace").splitlines()
    )
    for number, (one, other) in enumerate(lines, start=1):
        if one != other:
            yield Difference(f"line {number}", ABSENT if one is None else one, ABSENT if other is None else other)
