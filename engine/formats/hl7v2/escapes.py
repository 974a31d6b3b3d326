"""Escape sequences of HL7 v2 chapter 2.7, both ways.

`unescape(escape(text)) == text` for every text, and nothing that `escape` gives can end a field, a segment or a frame.
A sequence that is not known stays as it stands: a text with a stray escape character is still that text.
"""

from __future__ import annotations

from functools import lru_cache

from engine.formats.hl7v2.separators import STANDARD, Separators

_MOST_BLANKS = 99  # what one formatting command may ask for; more is kept as it stands

# Escape characters of ISO 2022 that \C and \M name; tried in turn on the text that they switch.
_SWITCHED = ("iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr")


def unescape(text: str, separators: Separators = STANDARD, charset: str = "utf-8") -> str:
    """What an escaped leaf means. Highlighting (`\\H\\`, `\\N\\`) and page layout have no text of their own."""
    mark = separators.escape
    if not mark or mark not in text:
        return text
    first, *parts = text.split(mark)
    out, switches, known = [first], False, False
    last = len(parts) - 1
    for i, part in enumerate(parts):
        if known:  # the mark before this part closed a sequence
            out.append(part)
            known = False
            continue
        meaning = _meaning(part, separators, charset) if i < last else None
        if meaning is None:
            out.append(mark + part)
            continue
        switches = switches or part[0] in "CM"
        out.append(meaning)
        known = True
    return _switch("".join(out), text) if switches else "".join(out)


def escape(text: str, separators: Separators = STANDARD) -> str:
    """Text made safe as a leaf of a message with these delimiters.

    Raises:
        ValueError: when the message declares no escape character and the text needs one.
    """
    table = _escapes(separators)
    if not table.keys().isdisjoint(text):
        if not separators.escape:
            raise ValueError("MSH-2 declares no escape character, and the text needs one")
        return text.translate(_by_number(separators))
    return text


def _meaning(sequence: str, separators: Separators, charset: str) -> str | None:
    """What stands for the sequence between two escape characters; None when it is not one."""
    simple = _sequences(separators).get(sequence)
    if simple is not None or not sequence:
        return simple
    kind = sequence[0]
    if kind in "Xx":
        return _hexadecimal(sequence[1:], charset)
    if kind in "CM" and len(sequence) in (5, 7):
        switch = _bytes(sequence[1:])
        return None if switch is None else "\x1b" + switch.decode("latin-1")
    return _layout(sequence[1:].lower()) if kind == "." else None


@lru_cache(maxsize=256)
def _sequences(separators: Separators) -> dict[str, str]:
    """The sequences that are one fixed text."""
    field, component, repetition, mark, subcomponent, truncation = separators
    named = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": mark, "P": truncation}
    return {name: text for name, text in named.items() if text} | {"H": "", "N": "", ".br": "\n", ".BR": "\n"}


@lru_cache(maxsize=256)
def _escapes(separators: Separators) -> dict[str, str]:
    """What must not stand in a leaf, and the sequence that stands for it."""
    field, component, repetition, mark, subcomponent, _ = separators
    table = {chr(n): f"{mark}X{n:02X}{mark}" for n in (*range(9), *range(10, 32))}
    if "." not in (field, component, repetition, mark, subcomponent):  # a line break may not be cut by a delimiter
        table["\n"] = f"{mark}.br{mark}"
    named = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": mark}
    return table | {character: mark + name + mark for name, character in named.items() if character}


@lru_cache(maxsize=256)
def _by_number(separators: Separators) -> dict[int, str]:
    return {ord(character): sequence for character, sequence in _escapes(separators).items()}


def _bytes(digits: str) -> bytes | None:
    if len(digits) % 2 or not digits.isalnum():
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def _hexadecimal(digits: str, charset: str) -> str | None:
    data = _bytes(digits)
    if not data:
        return None
    if data.isascii() and 0x1B not in data:
        return data.decode("ascii")
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return None


def _layout(command: str) -> str | None:
    """Formatting commands: those that break a line or move along it leave that; the others leave nothing."""
    name, count = command[:2], command[2:].strip().lstrip("+")
    if name in ("in", "ti", "fi", "nf"):
        return ""
    if name in ("br", "ce"):
        return "\n"
    if count and not (count.isascii() and count.isdigit() and int(count[:3]) <= _MOST_BLANKS and len(count) <= 3):
        return None
    blanks = {"sp": "\n", "sk": " "}.get(name)
    return None if blanks is None else blanks * int(count or 1)


def _switch(switched: str, original: str) -> str:
    """Decode the parts that `\\C` and `\\M` switched to another set; the original when they cannot be decoded."""
    for codec in _SWITCHED:
        try:
            return switched.encode("latin-1").decode(codec)
        except UnicodeError:
            continue
    return original
