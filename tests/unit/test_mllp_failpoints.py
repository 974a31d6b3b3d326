"""Each failpoint of MLLP kills where it says: before, inside and after the bytes that the peer sees."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .mllp import ack, framed, hl7

ROOT = Path(__file__).parents[2]

SOURCE = """
import asyncio, uvloop
from engine.connectors.mllp import MllpSource
from engine.errors import Reply
from engine.model import Answer, Verdict
from engine.wiring import SourceSpec

async def accept(raw, arrival):
    return Answer(Verdict(Reply.ACCEPT), raw)

async def main():
    source = MllpSource("c", SourceSpec("mllp://127.0.0.1:0"))
    await source.start(accept)
    print(source.address.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""

DESTINATION = """
import asyncio, sys, uvloop
from engine.connectors.mllp import MllpDestination
from engine.ports import Sending
from engine.wiring import DestinationSpec

async def main():
    destination = MllpDestination("c", DestinationSpec("d", f"mllp://127.0.0.1:{sys.argv[1]}"))
    for n in (1, 2):
        head = f"MSH|^~\\\\&|LAB|NORTH|EHR|SOUTH|20240101||ORU^R01|{n}|T|2.5.1\\rNTE|1||\\r"
        await destination.deliver(head.encode(), Sending("m", "d", n, "c", "d"))

uvloop.run(main())
"""


def start(script: str, failpoint: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "INTERLOCK_FAILPOINT": failpoint, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def drain(connection: socket.socket) -> bytes:
    """Everything until the peer is gone."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


WHOLE = framed(hl7(2))
LEFT = {"before": b"", "half": WHOLE[: len(WHOLE) // 2], "after": WHOLE}


@pytest.mark.parametrize("point", LEFT)
def test_the_answer(point: str) -> None:
    with start(SOURCE, f"mllp.answer.{point}:2") as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 20) as sender:
            sender.sendall(framed(hl7(1)))
            assert sender.recv(65536) == framed(hl7(1)) or point == "half"
            sender.sendall(WHOLE)
            seen = drain(sender)
        assert process.wait(20) == -signal.SIGKILL
    if point == "half":
        assert seen.endswith(LEFT["half"])
        assert not seen.endswith(WHOLE)
    else:
        assert seen == LEFT[point]


@pytest.mark.parametrize("point", LEFT)
def test_the_message_that_is_sent(point: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        with start(DESTINATION, f"mllp.send.{point}:2", str(server.getsockname()[1])) as process:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                first = b""
                while not first.endswith(b"\x1c\r"):
                    first += connection.recv(65536)
                assert first == framed(hl7(1))
                connection.sendall(framed(ack(1)))
                assert drain(connection) == LEFT[point]
            assert process.wait(20) == -signal.SIGKILL
