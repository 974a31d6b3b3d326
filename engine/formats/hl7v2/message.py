"""A message that can be read, changed and written without losing a byte.

Segments and fields are found by one split each, components when they are asked for. A message that was not
changed is written as the very bytes that came; in a changed one only the changed segments are rendered.
"""

from __future__ import annotations

from engine.errors import Held, NotFound
from engine.formats.hl7v2.charset import REVERSIBLE, decode, encode
from engine.formats.hl7v2.escapes import escape, unescape
from engine.formats.hl7v2.lines import PARTS, body, join, refuse_parts, split, unindented
from engine.formats.hl7v2.paths import Path, parse_path
from engine.formats.hl7v2.separators import Separators, separators_of

_NOT_TEXT = " \t\x00\x0b\x1a\x1c\ufeff"  # a line of nothing else is no segment
_HEADERS = frozenset({"MSH", "FHS", "BHS"})  # their field 1 is the separator itself


class Segment:
    """One segment. `segment[5]` is field 5 as it stands, still escaped, and "" when it is absent.

    `fields` are read only: of MSH, field 1 is the separator; `name` is that of a line that is indented, too.
    """

    __slots__ = ("_separators", "fields", "name", "original", "touched")

    def __init__(self, text: str, separators: Separators) -> None:
        self.original = text
        self.touched = False
        self._separators = separators
        self.fields = fields = text.split(separators.field)
        name = fields[0]
        self.name = name = name if len(name) == 3 and len(fields) > 1 else name.strip(_NOT_TEXT)
        if name in _HEADERS:
            fields.insert(1, separators.field)

    def __getitem__(self, n: int) -> str:
        fields = self.fields
        return fields[n] if n < len(fields) else ""

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return f"<Segment {self.name!r}>"  # no values: they may be in a log

    def repetitions(self, n: int) -> list[str]:
        """The repetitions of a field as they stand; one empty one when it is absent."""
        mark = self._separators.repetition
        return self[n].split(mark) if mark else [self[n]]

    def components(self, n: int, repetition: int = 0) -> list[str]:
        """The components of a field's repetition (counted from 0) as they stand; one empty one when absent."""
        text = self[n]
        mark = self._separators.repetition
        if repetition or (mark and mark in text):
            repetitions = self.repetitions(n)
            text = repetitions[repetition] if repetition < len(repetitions) else ""
        return text.split(self._separators.component)

    def put(self, n: int, raw: str) -> None:
        """Write field `n` as it shall stand, already escaped. Taking back a change gives the original again."""
        if n < 1 or (n < 3 and self.name in _HEADERS):
            raise ValueError(f"{self.name}-{n} cannot be changed")
        fields = self.fields
        fields.extend([""] * (n + 1 - len(fields)))
        fields[n] = raw
        self.touched = True
        if not raw:
            self._drop_padding()

    def _drop_padding(self) -> None:
        fields, separators = self.fields, self._separators
        least = self.original.count(separators.field) + (2 if self.name in _HEADERS else 1)
        while len(fields) > least and not fields[-1]:
            fields.pop()

    def render(self) -> str:
        """The segment's text made of its fields."""
        fields = self.fields
        if self.name in _HEADERS:
            fields = [fields[0], *fields[2:]]
        return self._separators.field.join(fields)


class Message:
    """One message. Make it with `read`."""

    __slots__ = ("_ends", "_exact", "_lines", "_span", "charset", "raw", "segments", "separators")

    def __init__(self, raw: bytes) -> None:
        start, end = body(raw)
        text, self.charset = decode(raw if end - start == len(raw) else raw[start:end])
        self.raw = raw
        self._span = (start, end)
        self.separators = separators = separators_of(text)
        lines, self._ends = split(text)
        self._lines = [Segment(line, separators) for line in lines]
        self.segments = segments = [segment for segment in self._lines if segment.name]
        if not PARTS.isdisjoint([segment.name for segment in segments[1:]]):
            refuse_parts(unindented(lines), separators.field)
        self._exact = {} if self.charset in REVERSIBLE else self._irreversible(raw[start:end], text, lines)

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    def first(self, name: str) -> Segment | None:
        """The first segment of that name, or None."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        return None

    def all(self, name: str) -> list[Segment]:
        """Every segment of that name, in order."""
        return [segment for segment in self.segments if segment.name == name]

    def decode(self, text: str) -> str:
        """What a leaf means: its escape sequences resolved."""
        if self.separators.escape not in text:
            return text
        return unescape(text, self.separators, self.charset)

    def get_raw(self, path: str) -> str:
        """What stands at a path, escaped and with its structure; "" when it is absent."""
        place = parse_path(path)
        segment = self._segment(place)
        return _part(segment[place.field], place, self.separators) if segment else ""

    def get(self, path: str) -> str | None:
        """The text at a path: None when it is absent, `""` (two quotes) for HL7's null.

        What still holds components or repetitions is structure, not text: it comes as it stands, like `get_raw`.
        """
        raw = self.get_raw(path)
        if not raw:
            return None
        return raw if self._structured(raw, parse_path(path)) else self.decode(raw)

    def set(self, path: str, value: str) -> None:
        """Write text at a path, escaped; nothing else in the message changes. "" removes what stands there.

        Raises:
            NotFound: when the message has no such segment.
            Held: code `charset` or `delimiters` when the message's own encoding cannot hold the text.
            ValueError: when the path is none, or names MSH-1 or MSH-2.
        """
        place = parse_path(path)
        try:
            text = value if place.segment == "MSH" and place.field < 3 else escape(value, self.separators)
        except ValueError as error:
            raise Held(str(error), code="delimiters", where=path) from None
        self.set_raw(path, text)

    def set_raw(self, path: str, raw: str) -> None:
        """Write at a path what is already escaped, components and repetitions included. Raises as `set`."""
        place = parse_path(path)
        segment = self._segment(place)
        if segment is None:
            raise NotFound(f"the message has no {place.segment} to write to", where=path)
        self._encodable(raw, path)
        field = _replaced(segment[place.field], raw, place, self.separators)
        segment.put(place.field, self._as_it_was(segment, place.field, field))

    def write(self) -> bytes:
        """The message as bytes: unchanged, the very bytes that came; changed, with only those segments rendered."""
        if not any(segment.touched for segment in self.segments):
            return self.raw
        return self._written([line.render() if line.touched else line.original for line in self._lines])

    def rebuild(self) -> bytes:
        """The message made anew of its parsed fields; the same bytes as `write`."""
        return self._written([line.render() for line in self._lines])

    def _segment(self, place: Path) -> Segment | None:
        if place.occurrence == 1:
            return self.first(place.segment)
        found = self.all(place.segment)
        return found[place.occurrence - 1] if place.occurrence <= len(found) else None

    def _structured(self, raw: str, place: Path) -> bool:
        if place.segment in _HEADERS and place.field < 3:
            return True
        _, component, repetition, _, subcomponent, _ = self.separators
        inside = subcomponent if place.component else component + subcomponent
        if place.subcomponent:
            inside = ""
        if not place.repetition and not place.component:
            inside += repetition
        return any(mark in raw for mark in inside)

    def _encodable(self, text: str, path: str) -> None:
        if text.isascii():
            return
        try:
            encode(text, self.charset)
        except UnicodeEncodeError:
            raise Held(
                f"the message is in {self.charset}, which has no such character",
                code="charset",
                where=path,
                advice="Let the sender declare UTF-8 in MSH-18, or map the text to what its character set holds.",
            ) from None

    def _as_it_was(self, segment: Segment, n: int, field: str) -> str:
        """The original field when only empty trailing parts differ: a change taken back leaves no trace."""
        _, component, repetition, _, subcomponent, _ = self.separators
        fields = Segment(segment.original, self.separators)
        trailing = component + repetition + subcomponent
        return fields[n] if fields[n].rstrip(trailing) == field.rstrip(trailing) else field

    def _irreversible(self, raw: bytes, text: str, lines: list[str]) -> dict[int, bytes]:
        """The bytes of those lines that the codec would write in another way than they came."""
        if text.encode(self.charset, "replace") == raw:
            return {}
        pieces = [line.encode("latin-1") for line in split(raw.decode("latin-1"))[0]]
        pairs = zip(pieces, lines, strict=True)
        return {i: piece for i, (piece, line) in enumerate(pairs) if line.encode(self.charset, "replace") != piece}

    def _written(self, lines: list[str]) -> bytes:
        start, end = self._span
        before, after = self.raw[:start], self.raw[end:]
        if not self._exact:
            return before + encode(join(lines, self._ends), self.charset) + after
        written = [self._line(i, line) for i, line in enumerate(lines)]
        return before + join(written, self._ends).encode("latin-1") + after

    def _line(self, i: int, line: str) -> str:
        """One line's bytes, as characters of their number: those that came when the line is the same."""
        exact = self._exact.get(i) if line == self._lines[i].original else None
        return (encode(line, self.charset) if exact is None else exact).decode("latin-1")


def _part(text: str, place: Path, separators: Separators) -> str:
    """The part of a field that a path names."""
    if place.component or place.repetition:
        text = _nth(text, separators.repetition, place.repetition or 1)
    if place.component:
        text = _nth(text, separators.component, place.component)
    return _nth(text, separators.subcomponent, place.subcomponent) if place.subcomponent else text


def _nth(text: str, mark: str, n: int) -> str:
    parts = text.split(mark) if mark else [text]
    return parts[n - 1] if n <= len(parts) else ""


def _replaced(text: str, raw: str, place: Path, separators: Separators) -> str:
    """The field with the part that the path names replaced."""
    levels = [
        (separators.repetition, place.repetition or (1 if place.component else 0)),
        (separators.component, place.component),
        (separators.subcomponent, place.subcomponent),
    ]
    return _replace(text, raw, [(mark, n) for mark, n in levels if n])


def _replace(text: str, raw: str, levels: list[tuple[str, int]]) -> str:
    if not levels:
        return raw
    (mark, n), *deeper = levels
    parts = text.split(mark) if mark else [text]
    if n > len(parts) and not mark:
        raise Held("MSH-2 declares no delimiter for this part", code="delimiters", where="MSH-2")
    parts.extend([""] * (n - len(parts)))
    parts[n - 1] = _replace(parts[n - 1], raw, deeper)
    return mark.join(parts)


def read(raw: bytes) -> Message:
    """Read one message; what is inside a field is split when it is asked for.

    Raises:
        Unreadable: with a code and a place, and no value.
    """
    return Message(raw)
