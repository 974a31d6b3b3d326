"""The delimiters of one message, as its MSH-1 and MSH-2 declare them.

A message is read and written with its own delimiters only; delimiters that cannot work are refused, never repaired.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from engine.errors import Unreadable


class Separators(NamedTuple):
    """One character each; empty where MSH-2 is too short to declare it (`truncation` exists since 2.7)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""


STANDARD = Separators()
_USUAL = "|^~\\&|"  # MSH-1, MSH-2 and the separator behind them, as nearly every sender has them


def separators_of(text: str) -> Separators:
    """The delimiters of text that begins with MSH.

    Raises:
        Unreadable: code `delimiters` when they are missing, repeated, letters, digits, blanks or not ASCII.
    """
    if text.startswith(_USUAL, 3):
        return STANDARD
    end = text.find(text[3:4], 4, 16) if len(text) > 3 else -1
    declared = text[3:end] if end > 0 else text[3:16]
    if "\r" in declared or "\n" in declared:
        declared = declared.splitlines()[0]
    return _declared(declared)


@lru_cache(maxsize=256)
def _declared(characters: str) -> Separators:
    """Delimiters from MSH-1 and MSH-2 written one after the other."""
    if not characters or not _usable(characters[0]):
        raise Unreadable("MSH-1 is not a usable field separator", code="delimiters", where="MSH-1")
    encoding = characters[1:].replace("\\\\", "\\")  # doubled by software that escaped it for its own source
    characters = characters[0] + encoding
    if not 1 <= len(encoding) <= 5:
        raise Unreadable("MSH-2 must hold one to five encoding characters", code="delimiters", where="MSH-2")
    if not all(map(_usable, encoding)) or len(set(characters)) != len(characters):
        raise Unreadable("MSH-2 holds encoding characters that cannot be told apart", code="delimiters", where="MSH-2")
    return Separators(*characters, *[""] * (6 - len(characters)))


def _usable(character: str) -> bool:
    """True for ASCII punctuation: what no text encoding can hide in a longer character."""
    return "!" <= character <= "~" and not character.isalnum()
