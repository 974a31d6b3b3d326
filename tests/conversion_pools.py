"""What the tests of the conversion pool share: a site's converters that do as the message says, and pools at work."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import registry
from engine.conversions.pool import Conversions
from engine.ports import Running
from mappings.lookup import CodeTables
from mappings.rules import apply_maps
from tests.building import channel, oru, spec

CONVERTER = '''
import os
import sys
import time
from pathlib import Path

from engine.errors import Held
from engine.model import Converted

FOLDER = Path(__file__).parent


def convert(parsed, tables, context):
    """Does what the patient's identifier says; what comes out is the process that did it."""
    raw = parsed.write()
    if b"|RAISE^" in raw:
        raise ValueError("TESTER^ANN")
    if b"|HOLD^" in raw:
        raise Held("a person must look", code="held_by_site", where="PID-3", advice="Look.")
    if b"|EXIT^" in raw:
        os.kill(os.getpid(), 9)
    if b"|LEAVE^" in raw:
        sys.exit("TESTER^ANN")
    if b"|SPEAK^" in raw:
        print("x" * 100_000, flush=True)
    if b"|SLOW^" in raw:
        time.sleep(0.05)  # the duration of one conversion among many, not a wait for something
    if b"|SPIN^" in raw:
        (FOLDER / f"at.{os.getpid()}").touch()
        while True:
            pass
    if b"|WAIT^" in raw:
        (FOLDER / f"at.{os.getpid()}").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.001)
    return Converted(b"%d" % os.getpid(), "text/plain")
'''

HERE = str(os.getpid()).encode()
"""What comes out where the converter ran in this process."""


def message(deed: str = "P1") -> bytes:
    """A message whose patient says what its converter does."""
    return oru(patient=deed)


@pytest.fixture(name="converter")
def make_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dotted name of such a converter, in a module of this test's own; its folder is the test's."""
    module = f"converting_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{module}.py").write_text(CONVERTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{module}:convert"


def running(converter: str, **more: Any) -> Running:
    """A channel with that converter."""
    return registry.running(channel(spec("ehr", convert=converter, **more)))


@asynccontextmanager
async def pool(workers: int = 1, limit: float = 30.0, folders: tuple[Path, ...] = ()) -> AsyncIterator[Conversions]:
    """A pool whose children are there."""
    made = Conversions(workers, folders, CodeTables(folders), apply_maps, limit)
    made.start()
    try:
        await until(lambda: len(made.children) == workers)
        yield made
    finally:
        await made.stop()


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds that other processes do."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def convert(made: Conversions, line: Running, deed: str = "P1") -> bytes:
    """The output for one message."""
    return (await made.convert(message(deed), line, line.channel.destinations[0], 1)).payload


def pids(made: Conversions) -> set[bytes]:
    """The children's process ids, as the converter writes them."""
    return {str(child.pid).encode() for child in made.children}


def at_it(folder: Path) -> list[int]:
    """The processes that have come to a message that waits or spins."""
    return [int(mark.suffix[1:]) for mark in folder.glob("at.*")]


def on_tables(folder: Path, code: str) -> Path:
    """Write a table of one row into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "pool-test.csv").write_text(f"local_code,code,display,system\nGLU,{code},Glucose,http://loinc.org\n")
    return folder


def renamed(line: Running, revision: str) -> Running:
    """The same wiring as another revision."""
    return replace(line, channel=replace(line.channel, revision=revision))
