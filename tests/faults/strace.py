"""strace around the engine: what it asked of the kernel in which order, and calls that fail on demand."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import missing

WATCHED = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync"
_LINE = re.compile(r"^(\d+)\s+([\d.]+) (.*)$")
_CALL = re.compile(r"^(\w+)\((\d+)?(?:<([^>]*)>)?")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>")


@pytest.fixture
def strace() -> str:
    """The program, which CI has."""
    found = shutil.which("strace")
    if found is None:
        missing("strace is not installed; on Debian: apt-get install strace")
    return str(found)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its place in the order of beginnings and ends, the file or socket, and the text strace shows."""

    name: str
    begun: int
    ended: int
    target: str
    text: str
    worked: bool


def watching(strace: str, output: Path) -> list[str]:
    """The wrapper that records what matters for durability. The engine stays our own child (-D)."""
    return [strace, "-D", "-f", "-ttt", "-y", "-s", "300", "-e", f"trace={WATCHED}", "-o", str(output)]


def failing(strace: str, output: Path, call: str, error: str, when: str) -> list[str]:
    """The wrapper under which `call` fails with `error` at the passes that `when` names (strace's own syntax)."""
    inject = f"inject={call}:error={error}:when={when}"
    return [strace, "-D", "-f", "-e", f"trace={call}", "-e", inject, "-o", str(output)]


async def finished(output: Path, seconds: float = 20) -> None:
    """strace writes on for a moment after its child has ended."""
    async with asyncio.timeout(seconds):
        while b"+++ exited" not in output.read_bytes()[-400:] and b"+++ killed" not in output.read_bytes()[-400:]:
            await asyncio.sleep(0.02)


def read_calls(output: Path) -> list[Call]:
    """Every call in the order of its beginning; an unfinished one is joined with its end."""
    calls: list[Call] = []
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(output.read_text(errors="replace").splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        thread, _, text = found.groups()
        if text.endswith("<unfinished ...>"):
            begun[thread] = (number, text.removesuffix("<unfinished ...>"))
        elif resumed := _RESUMED.match(text):
            start, beginning = begun.pop(thread, (number, resumed.group(1) + "("))
            _add(calls, start, number, beginning + text[resumed.end() :])
        else:
            _add(calls, number, number, text)
    return sorted(calls, key=lambda call: call.begun)


def _add(calls: list[Call], begun: int, ended: int, text: str) -> None:
    if found := _CALL.match(text):
        result = text.rpartition(" = ")[2]
        calls.append(Call(found.group(1), begun, ended, found.group(3) or "", text, not result.startswith("-")))
