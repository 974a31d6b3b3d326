"""A command line that cannot be read: with --json the refusal is one JSON document on standard output, too."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MISUSED = [
    ["check", "--json", "--nosuch"],
    ["trace", "--json"],
    ["--json"],
    ["nosuch", "--json"],
    ["search", "--json", "--limit"],
    ["deadletter", "show", "--json"],
]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "engine.cli", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", MISUSED, ids=" ".join)
def test_misuse_is_one_document_and_status_2(words: list[str]) -> None:
    ran = run(*words)
    told = json.loads(ran.stdout)
    assert ran.returncode == 2
    assert told.keys() == {"error"}
    assert told["error"]["code"] == "usage"
    assert told["error"]["text"]
    assert "--help" in told["error"]["advice"]
    assert told["error"]["text"] in " ".join(ran.stderr.split())


def test_without_json_standard_output_stays_empty() -> None:
    ran = run("check", "--nosuch")
    assert (ran.returncode, ran.stdout) == (2, "")


def test_help_is_no_error_and_says_no_more_than_before() -> None:
    ran = run("check", "--json", "--help")
    assert ran.returncode == 0
    assert ran.stdout.startswith("Usage:")
    assert '"error"' not in ran.stdout
