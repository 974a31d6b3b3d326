"""The bytes whose hash says whether two messages have the same content.

What changes when the same content is sent again is left out: MSH-7, 10, 13 to 16, set ids, trailing empty fields and
components, line ends, delimiters, character set. Everything else stays, in its order: two messages that differ in
anything clinical never give the same bytes, and where it is doubtful they are told apart.
"""

from __future__ import annotations

import re

from engine.formats.hl7v2.escapes import escape
from engine.formats.hl7v2.lines import whole
from engine.formats.hl7v2.separators import STANDARD, Separators, separators_of

#: Segments whose field 1 only numbers them (data type SI in the standard's segment tables).
_SET_IDS = """
    AFF AIG AIL AIP AIS AL1 ARV BPX BTX CER CON DB1 DG1 EDU FT1 GT1 IAM IN1 IN3 LAN NK1 NTE OBR OBX ORG PAC PID PKG
    PR1 PV1 REL RGS SGH SGT SPM TQ1 TXA UB1 UB2
"""
SET_IDS = frozenset(_SET_IDS.split())
_NUMBERED = frozenset(f"{name}|" for name in SET_IDS)

# MSH-7, 10, 13, 14, 15, 16, and 18 (the text is decoded already), counted from MSH-3.
_VOLATILE = (4, 7, 10, 11, 12, 13, 15)

_NOT_TEXT = " \t\x00\x0b\x1a\x1c\ufeff"  # a line of nothing else is no segment

_INNER = re.compile(r"(?<![&^])[&^]++(?=[|~])|(?<!&)&++(?=\^)")  # possessive: linear on any run


def canonical(raw: bytes) -> bytes:
    """The content of a message, in UTF-8, with standard delimiters and CR.

    Raises:
        Unreadable: when the bytes are no whole single message with usable delimiters.
    """
    lines, _, _ = whole(raw)
    separators = separators_of(lines[0])
    lines = [_header(lines[0], separators.field), *lines[1:]]
    if separators is not STANDARD and separators[:5] != STANDARD[:5]:
        lines = [_standard(line, separators) for line in lines]
    return _trimmed("\r".join(_contents(lines))).encode("utf-8")


def _header(line: str, field: str) -> str:
    """MSH without its delimiters and what changes when a message is sent again."""
    fields = line.split(field)[2:]
    for n in _VOLATILE:
        if n < len(fields):
            fields[n] = ""
    return field.join(["MSH", *fields])


def _contents(lines: list[str]) -> list[str]:
    """Each segment without its set id and its trailing empties; those that say nothing are left out."""
    text = "\r".join(lines)
    escaped = "\\" in text or "\n" in text
    contents = []
    for line in lines:
        if line[:4] in _NUMBERED:
            after = line.find("|", 4)
            line = line[:3] if after < 0 else line[:4] + line[after:]
        if escaped and ("\\" in line or "\n" in line):
            line = _standard(line, STANDARD)
        line = line.rstrip("|^&")
        if line > "!" or line.strip(_NOT_TEXT):
            contents.append(line)
    return contents


def _trimmed(text: str) -> str:
    """The text without empty components and sub-components at the end of any field."""
    inner = "&" in text and ("&|" in text or "&~" in text or "&^" in text)
    if inner or "^|" in text or ("~" in text and "^~" in text):
        return _INNER.sub("", text)
    return text


def _standard(line: str, separators: Separators) -> str:
    """The same segment with standard delimiters and one way to write each escape."""
    return "|".join(_field(field, separators) for field in line.split(separators.field))


def _field(text: str, separators: Separators) -> str:
    _, component, repetition, _, subcomponent, _ = separators
    return _level(text, [(repetition, "~"), (component, "^"), (subcomponent, "&")], separators)


def _level(text: str, levels: list[tuple[str, str]], separators: Separators) -> str:
    if not levels:
        return _leaf(text, separators)
    (mark, standard), *deeper = levels
    if not mark or mark not in text:
        return _level(text, deeper, separators)
    return standard.join(_level(part, deeper, separators) for part in text.split(mark))


def _leaf(text: str, separators: Separators) -> str:
    """One leaf with standard escapes; sequences with a meaning of their own stay, told apart from plain text."""
    mark = separators.escape
    if not mark or mark not in text:
        return escape(text)
    first, *parts = text.split(mark)
    out, known = [escape(first)], False
    for i, part in enumerate(parts):
        written = None if known or i == len(parts) - 1 else _sequence(part, separators)
        out.append(written if written is not None else escape(part) if known else "\\E\\" + escape(part))
        known = written is not None
    return "".join(out)


def _sequence(part: str, separators: Separators) -> str | None:
    """The standard form of an escape sequence; None when it is none."""
    field, component, repetition, mark, subcomponent, _ = separators
    plain = {"F": field, "S": component, "R": repetition, "E": mark, "T": subcomponent}.get(part)
    if plain:
        return escape(plain)
    if part in ("H", "N", "P") or part[:1] in (".", "C", "M", "Z"):
        return f"\\{part}\\"
    if part[:1] in ("X", "x") and part[1:] and not set(part[1:].upper()) - set("0123456789ABCDEF"):
        return _hexadecimal(part[1:].upper())
    return None


def _hexadecimal(digits: str) -> str:
    characters = bytes.fromhex(digits) if len(digits) % 2 == 0 else b""
    if characters and all(0x20 <= c < 0x7F or c in (0x0A, 0x0D) for c in characters):
        return escape(characters.decode("ascii"))
    return f"\\X{digits}\\"
