"""The command line as a contract: names, options, help, exit statuses, and JSON that stands alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from engine.cli import app as cli_app
from engine.cli.app import build
from engine.errors import Configuration, Conflict
from tests.unit.cli_help import Cli

CONTRACT = {
    "demo": {"--once"},
    "serve": {
        "--channels",
        "--data",
        "--http",
        "--store",
        "--broker",
        "--role",
        "--agreements-in-place",
        "--log-level",
    },
    "check": {"--json"},
    "test": {"--update", "--json"},
    "reload": {"--json"},
    "channel list": {"--json"},
    "channel start": {"--destination", "--reason"},
    "channel stop": {"--destination", "--reason"},
    "channel pause": {"--destination", "--reason"},
    "channel skip": {"--destination", "--reason"},
    "send": {"--json"},
    "convert": {"--to", "--from", "--out", "--report"},
    "search": {
        "--channel",
        "--type",
        "--state",
        "--control-id",
        "--patient",
        "--since",
        "--until",
        "--limit",
        "--json",
    },
    "trace": {"--json"},
    "balance": {"--json"},
    "backup": {"--data"},
    "restore": {"--data"},
    "retire": {"--before", "--dry-run", "--reason", "--store", "--data", "--json"},
    "bench": {"--connections", "--seconds", "--to", "--store", "--broker", "--json"},
    "version": {"--json"},
}


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command there is, groups included, by the words that call it."""
    waiting: list[tuple[str, Any]] = [("", get_command(build()))]
    while waiting:
        words, command = waiting.pop()
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            waiting.append((f"{words} {name}".strip(), child))


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("words", CONTRACT)
def test_every_command_of_the_contract_has_its_options(words: str) -> None:
    found = dict(commands())
    assert words in found
    assert options(found[words]) >= CONTRACT[words]


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_help_shows_examples_that_can_be_called(words: str, cli: Cli) -> None:
    shown = cli(*words.split(), "--help")
    assert shown.status == 0
    _, found, after = shown.out.partition("Examples:")
    lines = [line.strip() for line in after.strip().splitlines()]
    assert found
    assert lines
    known = dict(commands())
    for line in lines:
        called = line.split("#")[0].split()
        assert called[0] == "interlock"
        name = " ".join(called[1:3]) if " ".join(called[1:3]) in known else called[1]
        assert name in known
        assert {word for word in called if word.startswith("--")} <= options(known[name])


def test_the_distribution_calls_main() -> None:
    ran = subprocess.run([sys.executable, "-m", "engine.cli", "version", "--json"], capture_output=True, check=True)
    assert json.loads(ran.stdout).keys() == {"version", "python"}
    assert ran.stderr == b""


def test_help_imports_no_part_that_does_work() -> None:
    code = (
        "import sys\nfrom engine.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name in "
        "('rich', 'orjson', 'sqlite3', 'asyncio', 'starlette', 'cryptography', 'engine.runtime', 'engine.registry')],"
        " file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stderr.strip() == "[]"


def test_wrong_use_is_status_2_and_says_so_beside_the_answer(cli: Cli) -> None:
    for words in (
        ["nosuch"],
        ["send"],
        ["serve", "--nosuch"],
        ["serve", "--role", "pilot"],
        ["serve", "--http", "8080"],
    ):
        ran = cli(*words)
        assert ran.status == 2, words
        assert ran.out == ""
        assert ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "mysql://db/x"], "expected postgresql://"),
        (["--broker", "amqp://x"], "the broker's URL"),
        (["--role", "worker"], "the embedded store is for one process"),
    ],
)
def test_serve_refuses_what_it_cannot_serve_with_the_way_on(
    cli: Cli, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "channels").mkdir()
    ran = cli("serve", "--data", str(tmp_path / "data"), "--channels", str(tmp_path / "channels"), *words)
    assert ran.status == 2
    assert said in ran.err


def test_an_error_is_text_for_people_and_json_for_scripts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise Conflict("it was ended", advice="Look again.")

    monkeypatch.setattr("engine.cli.checking.settings", fails)
    plain, scripted = cli("check"), cli("check", "--json")
    assert plain.status == scripted.status == 1
    assert plain.out == ""
    assert "Look again." in plain.err
    assert scripted.json["error"]["code"] == "conflict"


def test_a_setting_that_cannot_be_read_is_wrong_use(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_GRACE_SECONDS", "soon")
    ran = cli("check")
    assert ran.status == 2
    assert "INTERLOCK_GRACE_SECONDS" in ran.err


def test_commands_of_a_package_are_added_and_a_broken_one_is_left_out(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "engine.no_such_module:app", cli_app.COMMAND_GROUP)
    sound = EntryPoint("extra", "tests.unit.test_cli_contract:EXTRA", cli_app.COMMAND_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: (broken, sound))
    ran = cli("extra", "hello")
    assert ran.out == "hello\n"
    assert "broken" in ran.err


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    code = "import sys; from engine.cli import main; main(['version'])"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run([sys.executable, "-u", "-c", code], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert ran.stderr == b""


def test_configuration_is_wrong_use_only_where_the_user_erred() -> None:
    from engine.cli import _WRONG_USE

    assert Configuration("x").code not in _WRONG_USE


EXTRA = typer.Typer()


@EXTRA.callback()
def _group() -> None:
    """Example: interlock extra hello."""


@EXTRA.command()
def hello() -> None:
    print("hello")
