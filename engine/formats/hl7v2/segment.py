"""One segment of a message: a view of its fields, which stay the message's own.

Whatever is written through it is written in the message, and only there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.formats.hl7v2.message import Message

NOT_TEXT = " \t\x00\x0b\x1a\x1c\ufeff"
"""A line of nothing else is no segment."""

HEADERS = frozenset({"MSH", "FHS", "BHS"})
"""Their field 1 is the separator itself."""

Row = list[str]
"""A segment's fields as they stand; index n is field n, index 0 the name with what indents it."""


class Segment:
    """One segment. `segment[5]` is field 5 as it stands, still escaped, and "" when it is absent.

    `fields` are read only: of MSH, field 1 is the separator; `name` is that of a line that is indented, too.
    """

    __slots__ = ("_message", "fields", "line", "name")

    def __init__(self, message: Message, line: int, name: str, fields: Row) -> None:
        self._message = message
        self.line = line
        self.name = name
        self.fields = fields

    def __getitem__(self, n: int) -> str:
        fields = self.fields
        return fields[n] if n < len(fields) else ""

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return f"<Segment {self.name!r}>"  # no values: they may be in a log

    def repetitions(self, n: int) -> list[str]:
        """The repetitions of a field as they stand; one empty one when it is absent."""
        mark = self._message.separators.repetition
        return self[n].split(mark) if mark else [self[n]]

    def components(self, n: int, repetition: int = 0) -> list[str]:
        """The components of a field's repetition (counted from 0) as they stand; one empty one when absent."""
        repetitions = self.repetitions(n)
        text = repetitions[repetition] if repetition < len(repetitions) else ""
        return text.split(self._message.separators.component)

    def put(self, n: int, raw: str) -> None:
        """Write field `n` as it shall stand, already escaped. Taking back a change gives the original again."""
        self._message.put(self.line, n, raw)


def drop_padding(fields: Row, least: int) -> None:
    """Take empty fields off the end until as many are left as the segment came with."""
    while len(fields) > least and not fields[-1]:
        fields.pop()


def rendered(name: str, fields: Row, mark: str) -> str:
    """The segment's text made of its fields."""
    return mark.join([fields[0], *fields[2:]] if name in HEADERS else fields)
