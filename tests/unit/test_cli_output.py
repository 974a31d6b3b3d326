"""What is printed can be shown to anybody's terminal and read by any script."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from engine.cli.output import examples, moment, print_json, show, table, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("MSH|^~\\&|\rPID|1\r", "MSH|^~\\&|\nPID|1\n"),
        ("a\x1b[31mred", "a\u241b[31mred"),
        ("bell\x07 del\x7f", "bell\u2407 del\u2421"),
        ("turn\u202earound", "turn\ufffdaround"),
        ("c1\x9b31m", "c1\ufffd31m"),
        ("Müller, 日本", "Müller, 日本"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_no_control_character_reaches_the_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_table_reads_no_markup_in_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    show(table(("a", "n#"), [("[bold]x[/bold]", 7), (None, "")]))
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "None" not in out


def test_json_takes_dataclasses_bytes_and_sets(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Thing:
        raw: bytes
        names: frozenset[str]

    print_json({"thing": Thing(b"\xc3\xbc", frozenset("ba"))})
    assert json.loads(capsys.readouterr().out) == {"thing": {"raw": "ü", "names": ["a", "b"]}}


def test_a_moment_is_utc_to_the_millisecond() -> None:
    assert moment(1_767_614_400_123_456) == "2026-01-05 12:00:00.123Z"
    assert moment(0) == ""


def test_examples_keep_their_lines() -> None:
    assert examples("one", "two").splitlines() == ["\b", "Examples:", "  one", "  two"]
