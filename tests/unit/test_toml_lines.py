"""Each key's line, in every way that TOML can write a key; the standard reader is the oracle for what is there."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.toml_lines import KeyPath, Lines

TEXT = '''\
# a comment with [brackets] and "quotes
name = "x" # name = "y"
a.b . "c.d" = 1
'single' = 'C:\\'
"esc\\u0061ped" = 2

[table]
multi = """
not = "a key"
[nor] a table \\""" still
"""
raw = \'\'\'
x = 1\'\'\'\'
after = true

list = [
  "one", # first
  { k = "v" },
  [1, 2], 3.5,
]
inline = { a = { b = 1 }, "c" = [ { d = 2 } ] }

[[items]]
id = 1
[items.sub]
deep = 1979-05-27T07:32:00Z
[[items.leaf]]
z = 1

[[items]]
id = 2
[[items.leaf]]
z = 2
[[items.leaf]]
z = 3
[ x . "y z" ]
last = -inf'''

EXPECTED: dict[KeyPath, int] = {
    ("name",): 2,
    ("a", "b", "c.d"): 3,
    ("single",): 4,
    ("escaped",): 5,
    ("table",): 7,
    ("table", "multi"): 8,
    ("table", "raw"): 12,
    ("table", "after"): 14,
    ("table", "list"): 16,
    ("table", "list", 0): 17,
    ("table", "list", 1, "k"): 18,
    ("table", "list", 2, 1): 19,
    ("table", "list", 3): 19,
    ("table", "inline", "a", "b"): 21,
    ("table", "inline", "c", 0, "d"): 21,
    ("items", 0): 23,
    ("items", 0, "id"): 24,
    ("items", 0, "sub", "deep"): 26,
    ("items", 0, "leaf", 0, "z"): 28,
    ("items", 1, "id"): 31,
    ("items", 1, "leaf", 0, "z"): 33,
    ("items", 1, "leaf", 1, "z"): 35,
    ("x", "y z"): 36,
    ("x", "y z", "last"): 37,
}


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every key and element that the standard reader sees."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_key_is_on_its_line(newline: str) -> None:
    lines = Lines(TEXT.replace("\n", newline))
    assert {path: lines.line(path) for path in EXPECTED} == EXPECTED


def test_the_expectation_covers_what_the_reader_sees() -> None:
    seen = set(paths(tomllib.loads(TEXT)))
    assert seen >= EXPECTED.keys()


def test_nothing_the_reader_sees_is_lost() -> None:
    lines = Lines(TEXT)
    assert [path for path in paths(tomllib.loads(TEXT)) if path not in lines._found] == []


def test_what_is_missing_is_reported_at_the_table_around_it() -> None:
    lines = Lines(TEXT)
    assert lines.line(("items", 1, "missing")) == 30
    assert lines.line(("missing", "too")) == 1


def test_a_comment_may_end_the_text() -> None:
    assert Lines("a = 1\n# end").line(("a",)) == 1
    assert Lines("").line(("a",)) == 1


@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(alphabet="[]{}\"'=.,#\\\n ab1", max_size=4))
def test_whatever_the_reader_accepts_is_located(start: int, length: int, put: str) -> None:
    text = TEXT[:start] + put + TEXT[start + length :]
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = Lines(text)
    assert [path for path in paths(document) if path not in lines._found] == []
