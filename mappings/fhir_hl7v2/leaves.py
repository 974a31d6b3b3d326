"""Text as a leaf of a message, and leaves joined: the only place where delimiters are written.

Invariant: whatever a value holds, it ends no component, field, segment or message, and it is never the null value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.formats.hl7v2 import escape

COMPONENT = "^"
SUBCOMPONENT = "&"
REPETITION = "~"

#: Two quotation marks alone mean "delete" to a receiver (HL7 2.5.1 chapter 2.5.3); as text they are written in hex.
_NULL = '""'
_NULL_AS_TEXT = "\\X2222\\"


def leaf(text: str) -> str:
    """Text as it stands in a message with the standard delimiters."""
    return _NULL_AS_TEXT if text == _NULL else escape(text)


def joined(parts: Iterable[str], mark: str = COMPONENT) -> str:
    """Leaves as one field or component, without the empty ones at its end."""
    found = list(parts)
    while found and not found[-1]:
        found.pop()
    return mark.join(found)


def leaves(texts: Iterable[str], mark: str = COMPONENT) -> str:
    """Texts as one field or component."""
    return joined(map(leaf, texts), mark)


def repeated(fields: Iterable[str]) -> str:
    """What says something, as the repetitions of a field; each once."""
    return REPETITION.join(dict.fromkeys(field for field in fields if field))


def inside(field: str) -> str:
    """A field as one component of another: its components become sub-components."""
    return field.replace(COMPONENT, SUBCOMPONENT)


def placed(pairs: Sequence[tuple[int, str]]) -> str:
    """Leaves by the number of their component."""
    parts = [""] * max((n for n, text in pairs if text), default=0)
    for n, text in pairs:
        if text:
            parts[n - 1] = text
    return COMPONENT.join(parts)
