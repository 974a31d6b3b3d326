"""JSON as FHIR means it: read strictly, every decimal as it was written, and every fault with its place.

What two readers could take differently is refused: the same name twice in an object, NaN, text that is no Unicode. A
fault never tells a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from engine.errors import Unreadable

#: Deeper than any resource that people write; FHIR itself sets no limit.
DEEPEST = 100
_NEWLINE = b"\n"
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<odd>-?Infinity|NaN|-?[\d.]+[eE][+-]?\d{9,})')
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
_LONGEST_INTEGER = 18  # digits that every reader takes; longer ones are kept as Decimal


def read(raw: bytes) -> dict[str, Any]:
    """The JSON object in these bytes: dict, list, str, int, Decimal, bool and None.

    Raises:
        Unreadable: codes `not_json`, `not_utf8`, `doubled_name`, `too_deep`, `type_missing`; `where` is a line and a
            column, or a path such as `Bundle.entry[3].resource`.
    """
    text = _text(raw)
    try:
        found = json.loads(
            text,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except _Doubled:
        raise _doubled(text) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Unreadable("reading JSON: the text does not follow its syntax", code="not_json", where=where) from None
    except _NoNumber:
        where = _line_of(text)
        raise Unreadable("reading JSON: a number is none, or too large", code="not_json", where=where) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(found, dict):
        raise Unreadable("reading JSON: it is no object", code="not_json", where="line 1 column 1")
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        _measure(found)
    if _SURROGATE.search(raw):
        _encode(text, found)
    if not isinstance(found.get("resourceType"), str) or not _NAME.fullmatch(found["resourceType"]):
        raise Unreadable("the object does not say what resource it is", code="type_missing", where="resourceType")
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        where = f"line {before.count(_NEWLINE) + 1} byte {len(before) - before.rfind(_NEWLINE)}"
        raise Unreadable("reading JSON: the bytes are not UTF-8", code="not_utf8", where=where) from None


class _Doubled(Exception):
    """A name stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubled
    return found


class _NoNumber(Exception):
    """NaN, Infinity, or an exponent that nothing can hold."""


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise _NoNumber from None


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _LONGEST_INTEGER else Decimal(text)


def _no_number(text: str) -> NoReturn:
    raise _NoNumber


def _line_of(text: str) -> str:
    """The line and column of the first thing outside of any text that is read as a number and is none."""
    for match in _TOKEN.finditer(text):
        if match["odd"]:
            line = text.count("\n", 0, match.start()) + 1
            return f"line {line} column {match.start() - text.rfind(chr(10), 0, match.start())}"
    return ""


def _too_deep() -> Unreadable:
    return Unreadable(f"reading JSON: it is nested more than {DEEPEST} deep", code="too_deep")


def _measure(found: dict[str, Any]) -> None:
    """Level by level, so that no depth can exhaust the stack."""
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise _too_deep()


def _inside(outer: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(outer.values() if isinstance(outer, dict) else outer)


def _encode(text: str, found: Any) -> None:
    """Half a surrogate pair, written as an escape, is no text: nothing could write it again."""
    try:
        json.dumps(found, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        raise Unreadable("reading JSON: an escape is half a character", code="not_utf8") from None


def _doubled(text: str) -> Unreadable:
    """Where a name stands twice: read once more, every object as its pairs."""
    pairs = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    where = next(_doubles(pairs, ""), "")
    return Unreadable("reading JSON: a name stands twice in one object", code="doubled_name", where=where)


class _Pairs(list[tuple[str, Any]]):
    """An object with every name it has, told apart from a list."""


def _doubles(found: Any, path: str) -> Iterator[str]:
    if isinstance(found, _Pairs):
        seen: set[str] = set()
        kind = next((value for name, value in found if name == "resourceType" and isinstance(value, str)), "")
        path = path or (kind if _NAME.fullmatch(kind) else "")
        for name, value in found:
            place = f"{path}.{name if _NAME.fullmatch(name) else '?'}".lstrip(".")
            if name in seen:
                yield place
            seen.add(name)
            yield from _doubles(value, place)
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _doubles(value, f"{path}[{index}]")
