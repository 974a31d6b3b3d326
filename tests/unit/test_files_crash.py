"""Killed at every point of writing or putting aside a file: under its name it is absent or complete, and never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DELIVER = """
import asyncio, sys
from engine.connectors import files
from engine.ports import Sending
from engine.wiring import DestinationSpec
destination = files.destination("c", DestinationSpec("d", "files://" + sys.argv[1]))
asyncio.run(destination.deliver(b"whole", Sending("m", "d", int(sys.argv[2]), "c", "d")))
"""
WATCH = """
import asyncio, sys
from engine.connectors import files
from engine.errors import Reply
from engine.model import Answer, Verdict
from engine.wiring import SourceSpec
async def run():
    done = asyncio.Event()
    async def accept(raw, arrival):
        done.set()
        return Answer(Verdict(Reply(sys.argv[2]), "refused"))
    options = {"stable": "0s", "every": "5ms"}
    source = files.source("c", SourceSpec("files://" + sys.argv[1], options=options))
    await source.start(accept)
    await done.wait()
    await source.stop()
asyncio.run(run())
"""


def run(program: str, point: str, *arguments: str) -> int:
    environment = {**os.environ, "INTERLOCK_FAILPOINT": point}
    return subprocess.run([sys.executable, "-c", program, *arguments], env=environment, check=False).returncode


@pytest.mark.parametrize(
    ("point", "there"),
    [
        ("files.write.before", False),
        ("files.write.after", False),
        ("files.sync.before", False),
        ("files.sync.after", False),
        ("files.rename.before", False),
        ("files.rename.after", True),
        ("files.folder_sync.before", True),
        ("files.folder_sync.after", True),
    ],
)
def test_a_delivered_file_is_absent_or_complete(tmp_path: Path, point: str, there: bool) -> None:
    assert run(DELIVER, point, str(tmp_path), "1") == -signal.SIGKILL
    assert (tmp_path / "d.hl7").exists() is there
    assert run(DELIVER, "", str(tmp_path), "2") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["d.hl7"]
    assert (tmp_path / "d.hl7").read_bytes() == b"whole"


@pytest.mark.parametrize("reply", ["accept", "reject"])
@pytest.mark.parametrize("edge", ["before", "after"])
@pytest.mark.parametrize("step", ["aside", "aside_sync"])
def test_a_taken_file_is_never_lost(tmp_path: Path, step: str, edge: str, reply: str) -> None:
    (tmp_path / "a.hl7").write_bytes(b"whole")
    assert run(WATCH, f"files.{step}.{edge}", str(tmp_path), reply) == -signal.SIGKILL
    aside = tmp_path / ("done" if reply == "accept" else "error") / "a.hl7"
    still = tmp_path / "a.hl7"
    moved = (step, edge) != ("aside", "before")
    assert still.exists() is not moved
    assert (aside if moved else still).read_bytes() == b"whole"
