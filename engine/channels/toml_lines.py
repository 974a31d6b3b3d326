"""Where in a TOML text each key stands, which the standard library's reader does not tell.

It reads only text that `tomllib` has accepted, so it never judges: a place it cannot find is its parent's line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_BLANK = " \t\r\n"


class Lines:
    """The line of each key of one text, asked by path: ("destination", 0, "to")."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[KeyPath, int] = {(): 1}
        self._arrays: dict[KeyPath, int] = {}
        self._read_document()

    def line(self, path: KeyPath) -> int:
        """The line of that key, or of the nearest table around it that is written down."""
        while path not in self._found:
            path = path[:-1]
        return self._found[path]

    def _read_document(self) -> None:
        table: KeyPath = ()
        while self._skip():
            if self._text[self._at] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)

    def _read_header(self) -> KeyPath:
        line, many = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        keys = list(self._read_key())
        self._at += 2 if many else 1
        parent = self._resolve(keys[:-1], line)
        if not many:
            return self._note((*parent, keys[-1]), line)
        array = (*parent, keys[-1])
        self._arrays[array] = self._arrays.get(array, -1) + 1
        self._note(array, line)
        return self._note((*array, self._arrays[array]), line)

    def _resolve(self, keys: list[str], line: int) -> KeyPath:
        """The table that a header's leading keys mean: of an array of tables, its last one."""
        path: KeyPath = ()
        for key in keys:
            path = self._note((*path, key), line)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _read_pair(self, table: KeyPath) -> None:
        line, path = self._line(), table
        for key in self._read_key():
            path = self._note((*path, key), line)
        self._at = self._text.index("=", self._at) + 1
        self._read_value(path)

    def _read_key(self) -> Iterator[str]:
        """The parts of a bare, quoted or dotted key, leaving the reader at what follows it."""
        while True:
            self._skip_blanks()
            yield self._read_part()
            self._skip_blanks()
            if not self._text.startswith(".", self._at):
                return
            self._at += 1

    def _read_part(self) -> str:
        start = self._at
        if self._text[start] in "\"'":
            self._skip_string()
            return next(iter(tomllib.loads(f"{self._text[start : self._at]} = 0")))
        while self._at < len(self._text) and self._text[self._at] in _BARE:
            self._at += 1
        return self._text[start : self._at]

    def _read_value(self, path: KeyPath) -> None:
        self._skip_blanks()
        first = self._text[self._at]
        if first in "\"'":
            self._skip_string()
        elif first == "[":
            self._read_array(path)
        elif first == "{":
            self._read_inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _read_array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while self._skip() and self._text[self._at] != "]":
            self._read_value(self._note((*path, index), self._line()))
            index += 1
            self._skip_comma()
        self._at += 1

    def _read_inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip() and self._text[self._at] != "}":
            self._read_pair(path)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        if self._skip() and self._text[self._at] == ",":
            self._at += 1

    def _skip_string(self) -> None:
        quote = self._text[self._at]
        mark = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(mark)
        while not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(mark)
        while len(mark) == 3 and self._text.startswith(quote, self._at):  # a quote may stand before the closing three
            self._at += 1

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _skip(self) -> bool:
        """Skip white space and comments; False at the end of the text."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = end if end >= 0 else len(self._text)
            elif self._text[self._at] in _BLANK:
                self._at += 1
            else:
                return True
        return False

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self._found.setdefault(path, line)
        return path
