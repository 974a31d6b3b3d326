"""A message that can be read, changed and written without losing a byte.

Segments and fields are found by one split each, components when they are asked for, and `Segment` objects only when
somebody wants them. A message that was not changed is written as the very bytes that came; in a changed one only the
changed segments are rendered.
"""

from __future__ import annotations

from engine.errors import Held, NotFound
from engine.formats.hl7v2.charset import REVERSIBLE, decode, encode
from engine.formats.hl7v2.escapes import escape, unescape
from engine.formats.hl7v2.lines import ORDINARY, PARTS, body, join, refuse_parts, split, unindented
from engine.formats.hl7v2.paths import Path, parse_path
from engine.formats.hl7v2.segment import HEADERS, NOT_TEXT, Row, Segment, drop_padding, rendered
from engine.formats.hl7v2.separators import Separators, separators_of


class Message:
    """One message. Make it with `read`.

    `rows` are the fields of each line as they stand, `names` the segments' names, "" for a line that is none.
    """

    __slots__ = ("_changed", "_ends", "_exact", "_lines", "_span", "charset", "names", "raw", "rows", "separators")

    def __init__(self, raw: bytes) -> None:
        start, end = body(raw)
        text, self.charset = decode(raw if end - start == len(raw) else raw[start:end])
        self.raw = raw
        self._span = (start, end)
        self.separators = separators = separators_of(text)
        self._lines, self._ends = lines, _ = split(text)
        field = separators.field
        self.rows: list[Row] = [line.split(field) for line in lines]
        self.names = [row[0] for row in self.rows]
        self.rows[0].insert(1, field)
        if not ORDINARY.issuperset(self.names[1:]):
            self._look_again()
        self._changed: set[int] = set()
        self._exact = {} if self.charset in REVERSIBLE else self._irreversible(raw[start:end], text, lines)

    def _look_again(self) -> None:
        """Names of indented segments, headers in odd places; parts of messages are refused."""
        field = self.separators.field
        names = self.names
        for i, (name, row) in enumerate(zip(names, self.rows, strict=True)):
            if len(name) != 3 or len(row) < 2:
                names[i] = name.strip(NOT_TEXT)
            if i and names[i] in HEADERS:
                row.insert(1, field)
        if not PARTS.isdisjoint(names[1:]):
            refuse_parts(unindented(self._lines), field)

    def __repr__(self) -> str:
        return f"<Message of {len(self.segments)} segments>"

    @property
    def segments(self) -> list[Segment]:
        """Every segment, in order; a line of blanks is none."""
        return [self._at(line) for line, name in enumerate(self.names) if name]

    def first(self, name: str) -> Segment | None:
        """The first segment of that name, or None."""
        return self._at(self.names.index(name)) if name in self.names else None

    def all(self, name: str) -> list[Segment]:
        """Every segment of that name, in order."""
        return [self._at(line) for line, found in enumerate(self.names) if found == name]

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
        self.put(segment.line, place.field, self._as_it_was(segment, place.field, field))

    def put(self, line: int, n: int, raw: str) -> None:
        """Write field `n` of a line as it shall stand, escaped. Taking back a change gives the original again."""
        fields = self.rows[line]
        if n < 3 and (n < 1 or self.names[line] in HEADERS):
            raise ValueError(f"{self.names[line]}-{n} cannot be changed")
        if n >= len(fields):
            fields.extend([""] * (n + 1 - len(fields)))
        fields[n] = raw
        self._changed.add(line)
        if not raw:
            drop_padding(fields, self._lines[line].count(self.separators.field) + 1 + (self.names[line] in HEADERS))

    def write(self) -> bytes:
        """The message as bytes: unchanged, the very bytes that came; changed, with only those segments rendered."""
        if not self._changed:
            return self.raw
        lines = self._lines.copy()
        for i in self._changed:
            lines[i] = self._render(i)
        return self._written(lines)

    def rebuild(self) -> bytes:
        """The message made anew of its parsed fields; the same bytes as `write`."""
        return self._written([self._render(i) for i in range(len(self._lines))])

    def _render(self, line: int) -> str:
        return rendered(self.names[line], self.rows[line], self.separators.field)

    def _at(self, line: int) -> Segment:
        return Segment(self, line, self.names[line], self.rows[line])

    def _segment(self, place: Path) -> Segment | None:
        if place.occurrence == 1:
            return self.first(place.segment)
        found = self.all(place.segment)
        return found[place.occurrence - 1] if place.occurrence <= len(found) else None

    def _structured(self, raw: str, place: Path) -> bool:
        if place.segment in HEADERS and place.field < 3:
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
        n -= segment.name in HEADERS  # whose field 1 is the separator itself
        fields = self._lines[segment.line].split(self.separators.field, n + 1)
        original = fields[n] if n < len(fields) else ""
        trailing = component + repetition + subcomponent
        return original if original.rstrip(trailing) == field.rstrip(trailing) else field

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
        exact = self._exact.get(i) if line == self._lines[i] else None
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
