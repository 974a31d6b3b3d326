"""Helpers live as long as their block, and /proc is read correctly."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from engine.bench.process import cpu_seconds, family, folder_bytes, free_port, helper, resident_mb, wait_for_port
from engine.bench.sinks import Take, sink_process

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")


def echo(pipe: Connection, word: str) -> None:
    pipe.send((word, os.getpid()))
    while pipe.recv() is not None:
        pipe.send("still here")


def test_a_helper_ends_with_its_block() -> None:
    with helper(echo, "hello") as pipe:
        word, pid = pipe.recv()
        assert word == "hello"
        pipe.send(1)
        assert pipe.recv() == "still here"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_sink_process_says_where_it_listens_and_hands_over() -> None:
    with helper(sink_process, "mllp", b"QBTEST") as pipe:
        wait_for_port(pipe.recv(), 10)
        pipe.send(Take())
        assert len(pipe.recv().sequence) == 0


def test_waiting_for_a_port_ends_when_nobody_will_listen() -> None:
    with pytest.raises(TimeoutError):
        wait_for_port(free_port(), 60, alive=lambda: False)


@needs_proc
def test_the_family_of_a_process_and_what_it_uses() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in family(os.getpid())
        assert (cpu_seconds(os.getpid()) or 0) > 0
        assert (resident_mb(os.getpid()) or 0) > (resident_mb(child.pid) or 0) > 0
    finally:
        child.communicate(b"\n")


@needs_proc
def test_a_process_that_is_gone_uses_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_seconds(child.pid) is None
    assert resident_mb(child.pid) is None


def test_a_folder_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b").write_bytes(b"123")
    assert folder_bytes(tmp_path) == 8
