"""Where segments end: CR, LF and CRLF, also mixed, and what may stand around a message.

Nothing is dropped: what is before MSH, between segments and after the last one is told apart so that it can be
written back. Around a message are tolerated, and kept: a byte order mark, blanks and line ends, and the MLLP frame
bytes of a message that was saved with its frame (0x0B before; 0x1C, with or without 0x0D, after).
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache

from engine.errors import Unreadable
from engine.formats.hl7v2.charset import decode

#: Segments that begin a message or continue one: behind the first line they are refused.
PARTS = frozenset({"MSH", "ADD", "DSC"})

#: Names behind the first line that need no second look: no header, no part, nothing indented.
ORDINARY = frozenset(
    (
        *("", "PID", "PD1", "NK1", "PV1", "PV2", "ORC", "OBR", "TQ1", "NTE", "OBX"),
        *("SPM", "SAC", "AL1", "DG1", "EVN", "MRG"),
    )
)

_BEFORE = b"\xef\xbb\xbf\x0b\r\n \t\x00"
_ANY_END = re.compile(r"\r\n|\r|\n")


def body(raw: bytes) -> tuple[int, int]:
    """Where the message begins (at MSH) and ends within the bytes.

    Raises:
        Unreadable: codes `empty`, `batch` (it begins with FHS or BHS) and `no_header`.
    """
    start = 0
    if raw[:3] != b"MSH":
        start = len(raw) - len(raw.lstrip(_BEFORE))
        if not raw.startswith(b"MSH", start):
            raise _no_message(raw, start)
    return start, len(raw) - (len(_frame_end(raw)) if b"\x1c" in raw[-3:] else 0)


def _frame_end(raw: bytes) -> bytes:
    return next((end for end in (b"\x1c\r\n", b"\x1c\r", b"\x1c\n", b"\x1c") if raw.endswith(end)), b"")


def _no_message(raw: bytes, start: int) -> Unreadable:
    if start == len(raw):
        return Unreadable("there is nothing in it", code="empty", where="MSH")
    if raw[start : start + 3] in (b"FHS", b"BHS"):
        return Unreadable("a batch is not one message", code="batch", where=raw[start : start + 3].decode("ascii"))
    return Unreadable("it does not begin with MSH", code="no_header", where="MSH")


def split(text: str) -> tuple[list[str], list[str] | None]:
    """Lines, and the ends between them; None stands for CR everywhere.

    In a message whose MSH ends with CR alone, an LF ends a segment only where the next one (or nothing) follows:
    otherwise it is part of a text that its sender did not escape.
    """
    if "\n" not in text:
        return text.split("\r"), None
    parts = _ends(text).split(text)
    return parts[::2], parts[1::2]


def join(lines: list[str], ends: list[str] | None) -> str:
    """What `split` took apart."""
    if ends is None:
        return "\r".join(lines)
    return "".join(line + end for line, end in zip(lines, [*ends, ""], strict=True))


def _ends(text: str) -> re.Pattern[str]:
    end = _ANY_END.search(text)
    return _compiled(text[3], end is not None and end[0] == "\r")


@lru_cache(maxsize=64)
def _compiled(field: str, only_before_segments: bool) -> re.Pattern[str]:
    if not only_before_segments:
        return re.compile(r"(\r\n|\r|\n)")
    return re.compile(rf"(\r\n|\r|\n(?=[A-Z][A-Z0-9][A-Z0-9]{re.escape(field)}|[\r\n\x1c]|\Z))")


REMEMBERED_BYTES = 64 * 1024
"""A larger message is read again rather than held after its turn."""

#: What was read last in this thread: the path asks of the same bytes who they are and then what they say.
_latest = threading.local()


Whole = tuple[list[str], list[str], str]
"""The lines of a message, what the first three characters of each are, and the message's codec; not to be changed."""


def whole(raw: bytes) -> Whole:
    """The lines of one whole message without indentation: what reading keys from it needs.

    Raises:
        Unreadable: as `body`, and when it is a part of a message or several.
    """
    latest: tuple[bytes, Whole] | None = getattr(_latest, "read", None)
    if latest is not None and latest[0] is raw:
        return latest[1]
    start, end = body(raw)
    text, codec = decode(raw if end - start == len(raw) else raw[start:end])
    lines = split(text)[0]
    names = [line[:3] for line in lines]
    if not ORDINARY.issuperset(names[1:]):
        lines = unindented(lines)
        refuse_parts(lines, text[3:4])
        names = [line[:3] for line in lines]
    found = lines, names, codec
    _latest.read = (raw, found) if len(raw) < REMEMBERED_BYTES else None
    return found


def unindented(lines: list[str]) -> list[str]:
    """The lines without blanks before them: an indented segment is one, whatever indented it."""
    return [line if line > "!" else line.lstrip(" \t") for line in lines]


def refuse_parts(lines: list[str], field: str) -> None:
    """Refuse several messages in one, and parts of one: taking them for a whole would mix or lose results.

    Raises:
        Unreadable: codes `several_messages` and `continuation`.
    """
    for line in lines:
        if line[:3] in PARTS and line[3:4] in (field, "") and line is not lines[0]:
            _refuse(line, field)


def _refuse(line: str, field: str) -> None:
    name = line[:3]
    if name == "MSH":
        raise Unreadable("more than one MSH; split it as a batch first", code="several_messages", where="MSH")
    if name == "ADD":
        raise Unreadable("it goes on with another message's segment", code="continuation", where="ADD")
    if line[4:].split(field, 1)[0].strip():
        raise Unreadable("the message goes on in another one", code="continuation", where="DSC-1")
