"""docs/commands.md is held against the code: every command, every path, every reason, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from engine.web import probes
from engine.web.openapi import document
from tests.conftest import ROOT
from tests.unit.test_cli_contract import commands, options

TEXT = (ROOT / "docs" / "commands.md").read_text()


def test_every_command_is_described_and_no_other() -> None:
    described = set(re.findall(r"^\| `interlock ([a-z ]+)` \|", TEXT, re.MULTILINE))
    assert described == {words for words, command in commands() if words and not hasattr(command, "commands")}


def test_every_path_is_described_and_no_other() -> None:
    described = set(re.findall(r"^\| `(GET|POST) (/\S*)` \|", TEXT, re.MULTILINE))
    there = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert described == there


def test_every_option_that_is_named_exists() -> None:
    every = {option for _, command in commands() for option in options(command)}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= every


def test_every_reason_of_readiness_is_described() -> None:
    source = Path(probes.__file__).read_text()
    reasons = set(re.findall(r'(?:yield|else \[)\s*"(\w+)"', source))
    assert len(reasons) == 4
    assert all(f"`{reason}`" in TEXT for reason in reasons)
