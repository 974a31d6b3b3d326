"""Files and batches (FHS, BHS, BTS, FTS) and plain rows of messages, taken apart.

A batch is taken whole or not at all: counts that disagree and a missing trailer say that something was lost.
"""

from __future__ import annotations

import re

from engine.errors import Unreadable

_ENVELOPE = re.compile(rb"(?:\A|(?<=[\r\n\x0b]))(MSH|FHS|BHS|BTS|FTS)(?=[^A-Za-z0-9\s]|[\r\n]|\Z)")
_BEFORE = b"\xef\xbb\xbf\x0b\x1c\r\n \t\x00"
_TRAILER = {"BHS": "BTS", "FHS": "FTS"}
_COUNT = re.compile(rb"...[^A-Za-z0-9\s]\s*([^\s|^~\\&*]+)")  # the first field of a trailer, when it holds anything


def split_batch(raw: bytes) -> list[bytes]:
    """The messages of a batch, or of several in a row, each as it stands; of a single message, itself.

    Raises:
        Unreadable: codes `batch_count` (where BTS-1 or FTS-1), `batch_end` (a header without its trailer, or the
            other way round), `batch_content` (something that is not a message) and `no_header`.
    """
    marks = [(match[1].decode("ascii"), match.start()) for match in _ENVELOPE.finditer(_unmarked(raw))]
    if [name for name, _ in marks] == ["MSH"]:
        return [raw]
    raw = _unmarked(raw)
    if not marks or raw[: marks[0][1]].strip(_BEFORE):
        raise Unreadable("it begins with neither MSH nor a batch header", code="no_header", where="MSH")
    reader = _Batch()
    for (name, start), end in zip(marks, [start for _, start in marks[1:]] + [len(raw)], strict=True):
        reader.take(name, raw[start:end])
    reader.finish()
    return reader.messages


def _unmarked(raw: bytes) -> bytes:
    return raw.removeprefix(b"\xef\xbb\xbf")


class _Batch:
    """What has been seen so far: headers that wait for their trailer, and how many messages and batches there were.

    The standard lets a file leave out any header or trailer. A missing header loses nothing; a header whose trailer is
    missing may be half a file, and half a file is not taken.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._open: list[str] = []
        self._messages = 0  # of this batch
        self._batches = 0  # of this file
        self._loose = 0  # messages of this file outside of any batch

    def take(self, name: str, text: bytes) -> None:
        """Take the next header, trailer or message with what follows it."""
        if name == "MSH":
            self.messages.append(text)
            self._messages += 1
        elif len(text.strip(_BEFORE).splitlines()) > 1:
            raise Unreadable(f"something that is no message follows {name}", code="batch_content", where=name)
        elif name in _TRAILER:
            self._begin(name)
        elif name == "BTS":
            self._end_batch(text)
        else:
            self._end_file(text)

    def finish(self) -> None:
        """Check that everything opened was closed."""
        if self._open:
            raise Unreadable("the trailer is missing", code="batch_end", where=_TRAILER[self._open[-1]])

    def _begin(self, name: str) -> None:
        if name in self._open or (name == "FHS" and self._open):
            raise Unreadable("the trailer before it is missing", code="batch_end", where=_TRAILER[self._open[-1]])
        self._open.append(name)
        self._loose += self._messages
        self._messages = 0
        if name == "FHS":
            self._batches = self._loose = 0

    def _end_batch(self, text: bytes) -> None:
        if self._open[-1:] == ["BHS"]:
            self._open.pop()
        _check("BTS-1", text, {self._messages})
        self._batches += 1
        self._messages = 0

    def _end_file(self, text: bytes) -> None:
        if self._open[-1:] == ["BHS"]:
            raise Unreadable("the trailer is missing", code="batch_end", where="BTS")
        self._open.clear()
        loose = self._loose + self._messages
        # Messages outside of any batch are counted as one batch by some senders, as one each by others.
        _check("FTS-1", text, {self._batches + loose, self._batches + min(loose, 1)})
        self._batches = self._loose = self._messages = 0


def _check(where: str, text: bytes, there: set[int]) -> None:
    """Compare a trailer's count, where it has one, with what there is."""
    said = _COUNT.match(text)
    if said and (not said[1].isdigit() or int(said[1][:9]) not in there):
        raise Unreadable("the trailer counts other than what there is", code="batch_count", where=where)
