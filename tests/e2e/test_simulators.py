"""The invented laboratory and EHR as processes, with an engine on the channel that docker-compose.yml brings."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.bench.messages import END, START
from engine.bench.process import free_port
from engine.bench.served import Served
from engine.demo.account import settled
from engine.demo.api import Api
from engine.demo.laboratory import Kind, Laboratory, results
from tests.conftest import ROOT
from tests.unit.cli_help import Cli

CHANNELS = ROOT / "deploy" / "compose" / "channels"
TABLES = ROOT / "deploy" / "compose" / "tables"
MESSAGES = results()
SENT = len({message.control_id for message in MESSAGES if message.arrives})
COMMAND = [sys.executable, "-m", "engine.cli", "simulate"]


class Ehr:
    """The running EHR: where it listens, and what it said at the end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        self.fhir, self.mllp = re.findall(r":(\d+)", process.stdout.readline())

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        return out


@contextmanager
def ehr() -> Iterator[Ehr]:
    command = [*COMMAND, "ehr", "--fhir", "127.0.0.1:0", "--mllp", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Ehr(process)
        finally:
            process.kill()


@contextmanager
def engine(folder: Path, fhir: str, mllp: str) -> Iterator[tuple[Served, int]]:
    """An engine on the shipped channel, with the ports of this test in it."""
    port = free_port()
    shutil.copytree(CHANNELS, folder / "channels")
    file = folder / "channels" / "willow-lab" / "channel.toml"
    text = file.read_text("utf-8").replace("0.0.0.0:2575", f"127.0.0.1:{port}")
    file.write_text(text.replace("ehr:8090", f"127.0.0.1:{fhir}").replace("ehr:2576", f"127.0.0.1:{mllp}"))
    served = Served(folder / "channels", folder / "data", folder / "log", {"INTERLOCK_TABLES": str(TABLES)})
    served.start("--strict")
    try:
        yield served, port
    finally:
        served.stop()


def wait_until_settled(served: Served) -> None:
    api, give_up = Api(served.address, served.token), time.monotonic() + 30
    while not settled(api.channels(), len(MESSAGES)):
        assert time.monotonic() < give_up, served.output()[-2000:]
        time.sleep(0.02)


def laboratory(port: int) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "laboratory", "--to", f"mllp://127.0.0.1:{port}", "--pause", "0"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_morning_goes_through_an_engine_to_both_sides_of_the_ehr(tmp_path: Path) -> None:
    with ehr() as there, engine(tmp_path, there.fhir, there.mllp) as (served, port):
        ran = laboratory(port)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert f"sending {len(MESSAGES)} messages" in ran.stdout
        assert f"{len(MESSAGES) - 1} AA" in ran.stdout
        wait_until_settled(served)
        assert served.ask("balance").returncode == 0
        took = re.findall(r"took (\d+) FHIR transactions and (\d+) HL7 v2 messages", there.end())
    assert took == [(str(SENT), str(SENT))]


def test_an_answer_that_must_not_be_is_status_1() -> None:
    with ehr() as there:  # this one answers AA to everything, also to what nobody can read
        ran = laboratory(int(there.mllp))
    assert ran.returncode == 1
    assert "not as they must be: 1" in ran.stdout


def test_what_was_not_answered_is_sent_again_before_the_next() -> None:
    async def story() -> tuple[list[bytes], Laboratory]:
        heard: list[bytes] = []

        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while frame := await _frame(reader):
                heard.append(frame)
                if len(heard) == 1:
                    break  # took it and fell before it answered
                control_id = frame.split(b"|")[9]
                writer.write(START + rb"MSH|^~\&|X" + b"\rMSA|AA|" + control_id + b"\r" + END)
            writer.close()

        port = free_port()
        sender = Laboratory(port, connections=1, again_after=0.01)
        sending = asyncio.create_task(sender.send(two))
        await asyncio.sleep(0)  # it finds nobody at first
        async with await asyncio.start_server(peer, "127.0.0.1", port) as server:
            await sending
            server.close()
            await asyncio.sleep(0.01)
        return heard, sender

    two = [message for message in MESSAGES if message.kind is Kind.FINAL][:2]
    heard, sender = asyncio.run(story())
    assert heard == [two[0].payload, two[0].payload, two[1].payload]
    assert [answer.code for answer in sender.answers] == ["AA", "AA"]


async def _frame(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(END))[len(START) : -len(END)]
    except asyncio.IncompleteReadError:
        return b""


@pytest.mark.parametrize(
    "words",
    [
        ["laboratory", "--to", "http://127.0.0.1:2575"],
        ["laboratory", "--to", "mllp://2575"],
        ["ehr", "--fhir", "127.0.0.1:99999"],
        ["ehr", "--mllp", "here"],
    ],
)
def test_an_address_that_is_none_is_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ran = Cli(capsys)("simulate", *words)
    assert (ran.status, ran.out) == (2, "")
    assert words[1] in ran.err
