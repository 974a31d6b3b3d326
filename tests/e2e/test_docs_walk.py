"""What the README and the first channel's tutorial tell a stranger to do, done: their texts, their commands, in order.

Only the port is another one, and where a text says ID it is the first id that the command before has shown.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs_help import DOCS, ROOT

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[0-9][0-9a-hjkmnp-tv-z]{12}\b")
SECONDS = 60
NOT_HERE = ("make ", ". ", "cd ")
"""What a walk does not do: it is in its folder already, with the command on its path."""

pytestmark = pytest.mark.slow


class Walk:
    """A stranger's folder and terminal."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "first"
        self.folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = home / "bin" / "interlock"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m engine.cli "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
        self.environment = {**kept, "HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
        self.environment["INTERLOCK_HTTP"] = "127.0.0.1:0"
        self.server: subprocess.Popen[str] | None = None
        self.shown = ""

    def blocks(self, text: str, kind: str) -> list[str]:
        """The blocks of a kind in a text, with this walk's port."""
        return [block.replace(":2575", f":{self.port}") for found, block in FENCE.findall(text) if found == kind]

    def follow(self, text: str) -> None:
        """Do every command of a text, in order."""
        for block in self.blocks(text, "sh"):
            for line in block.splitlines():
                if not line.startswith(NOT_HERE):
                    self.do(line)

    def do(self, line: str) -> str:
        """One line of a terminal."""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        if line == "interlock serve":
            self.serve()
            return ""
        if " ID" in line:
            line = line.replace(" ID", f" {ID.findall(self.shown)[0]}")
        ran = subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        expected = 1 if line.startswith("interlock send") and "broken" in line else 0
        assert ran.returncode == expected, f"{line}\n{ran.stdout}{ran.stderr}"
        self.shown = ran.stdout if ID.search(ran.stdout) else self.shown
        return ran.stdout

    def serve(self) -> None:
        """Start the engine, after stopping the one that runs; it says when it is ready."""
        self.stop()
        with (self.folder / "log").open("a") as log:
            self.server = subprocess.Popen(
                ["interlock", "serve"], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=log,
                text=True,
            )  # fmt: skip
        assert self.server.stdout
        assert "ready" in self.server.stdout.readline(), (self.folder / "log").read_text()

    def stop(self) -> None:
        """Ctrl-C."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            assert self.server.wait(SECONDS) == 0
            assert self.server.stdout
            self.server.stdout.close()
            self.server = None

    def account(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The balance's rows of the one channel and its one destination."""
        document = json.loads(self.do("interlock balance --json"))
        return document["channels"][0], document["destinations"][0]

    def until(self, holds: Callable[[dict[str, Any], dict[str, Any]], bool]) -> None:
        """Ask for the balance until something holds of it."""
        deadline = time.monotonic() + SECONDS
        while not holds(*self.account()):
            assert time.monotonic() < deadline, self.account()


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    begun = Walk(tmp_path)
    try:
        yield begun
    finally:
        if begun.server is not None:
            begun.server.kill()
            begun.server.communicate()


def first_channel(walk: Walk) -> list[str]:
    """Do the README up to the point where the message is delivered; gives what it says after that."""
    before, after = (ROOT / "README.md").read_text("utf-8").split("## What became of it")
    made, run = before.split("Save this as", 1)
    walk.follow(made)
    (walk.folder / "channels/first-lab/channel.toml").write_text(walk.blocks(run, "toml")[0])
    (walk.folder / "first.hl7").write_text(walk.blocks(run, "hl7")[0])
    walk.follow(run)
    walk.until(lambda channel, destination: destination["delivered"] == 1)
    return walk.blocks(after, "sh")[0].splitlines()


def test_the_readme_does_what_it_says(walk: Walk) -> None:
    shown = {line: walk.do(line) for line in first_channel(walk)}
    (written,) = (walk.folder / "inbox").iterdir()
    assert json.loads(written.read_bytes())["type"] == "transaction"
    trace = shown["interlock trace ID"]
    assert all(word in trace for word in ("received", "routed", "claimed", "delivered", "4711", '"Bundle"'))
    assert "The balance closes" in shown["interlock balance"]
    assert "first-lab" in shown["interlock channel list"]
    walk.do(f"interlock send mllp://127.0.0.1:{walk.port} first.hl7")
    channel, destination = walk.account()
    assert (channel["duplicate"], destination["accepted"]) == (1, 1)
    walk.stop()


def test_the_tutorial_does_what_it_says(walk: Walk) -> None:
    first_channel(walk)
    _, resend, away, unreadable, codes, change, cases, _ = (DOCS / "first-channel.md").read_text("utf-8").split("\n## ")
    toml = walk.folder / "channels/first-lab/channel.toml"

    walk.follow(resend)
    channel, destination = walk.account()
    assert (channel["accepted"], channel["duplicate"], destination["accepted"]) == (1, 1, 1)

    walk.follow(away)
    walk.until(lambda channel, destination: destination["delivered"] == 2)

    walk.follow(unreadable)
    channel, _ = walk.account()
    assert (channel["ended"], channel["held"]) == (1, 0)

    (walk.folder / "tables").mkdir()
    (walk.folder / "tables/first-codes.csv").write_text(walk.blocks(codes, "csv")[0])
    toml.write_text(toml.read_text().replace("[[destination]]", walk.blocks(codes, "toml")[0] + "[[destination]]"))
    walk.follow(codes)
    walk.until(lambda channel, destination: destination["delivered"] == 4)
    assert "unmapped" in walk.do("interlock deadletter list --items")
    loinc = [file for file in (walk.folder / "inbox").iterdir() if '"display":"Potassium [' in file.read_text()]
    assert len(loinc) == 1

    toml.write_text(toml.read_text() + walk.blocks(change, "toml")[0])
    walk.follow(change)
    walk.follow(cases)
    walk.stop()


def test_a_backup_is_restored_as_the_operations_page_says(walk: Walk) -> None:
    first_channel(walk)
    text = (DOCS / "operations.md").read_text("utf-8").split("## Back up and restore")[1].split("\n## ")[0]
    for place, here in (("/var/lib/interlock-restored", "restored"), ("/var/lib/interlock", "data")):
        text = text.replace(place, here)
    walk.environment["INTERLOCK_KEY"] = (walk.folder / "data" / "interlock.key").read_text().strip()
    walk.follow(text.replace("/backups/monday", "monday"))
    balances = [json.loads(walk.do(f"interlock balance --json --data {folder}")) for folder in ("data", "restored")]
    assert balances[0] == balances[1]
    assert balances[0]["destinations"][0]["delivered"] == 1
    assert not (walk.folder / "restored" / "interlock.key").exists()
    walk.stop()
