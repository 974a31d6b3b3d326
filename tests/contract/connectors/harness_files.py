"""Local folders for the contract suite: a hand that drops files and looks where they went."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import ClassVar

from engine.connectors import files
from engine.errors import Reply, Weight
from engine.ports import Destination, Source
from engine.wiring import DestinationSpec, SourceSpec

from .harness import DestinationHarness, Sender, SourceHarness

NUMBERS = itertools.count(1)


class Dropper(Sender):
    """Writes a file as careful senders do, and sees it appear in done or error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, raw: bytes, patience: float = 10.0) -> Reply | None:
        name = f"{next(NUMBERS):06d}.hl7"
        hidden = self._folder / f".{name}"
        hidden.write_bytes(raw)
        hidden.rename(self._folder / name)
        try:
            async with asyncio.timeout(patience):
                while (self._folder / name).exists():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            (self._folder / name).unlink(missing_ok=True)
            return None
        return Reply.ACCEPT if (self._folder / "done" / name).exists() else Reply.REJECT


class FilesSource(SourceHarness):
    name = "files"
    tells_error_from_reject = False

    async def make(self, max_size: int, grace: str) -> Source:
        self.inbox = self.folder / "in"
        self.inbox.mkdir()
        options = {"every": "5ms", "stable": "0s", "grace": grace}
        return files.source("c", SourceSpec(f"files://{self.inbox}", max_size=max_size, options=options))

    async def sender(self) -> Sender:
        return Dropper(self.inbox)


class FilesDestination(DestinationHarness):
    name = "files"
    can_be_silent = False
    parallel = False
    answers: ClassVar = {"name taken": Weight.PERMANENT}

    async def make(self, connections: int, timeout: int) -> Destination:
        self.outbox = self.folder / "out"
        self.away = self.folder / "away"
        spec = DestinationSpec("d", f"files://{self.outbox}", connections=connections, timeout=timeout)
        return files.destination("c", spec)

    @property
    def received(self) -> list[bytes]:  # type: ignore[override]
        found = [path for path in self.outbox.glob("*") if path.read_bytes() != b"something else"]
        return [path.read_bytes() for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    @received.setter
    def received(self, value: list[bytes]) -> None:
        """The suite's base class begins with []; the folder keeps them."""

    async def up(self) -> None:
        if self.away.exists():
            self.away.rename(self.outbox)
        self.outbox.mkdir(exist_ok=True)

    async def down(self) -> None:
        if self.outbox.exists():
            self.outbox.rename(self.away)

    def show(self, *behaviours: str) -> None:
        """ "name taken": the next delivery's name is there already with other content."""
        for attempt, behaviour in enumerate(behaviours, 1):
            if behaviour == "name taken":
                (self.outbox / f"{attempt:013d}.hl7").write_bytes(b"something else")

    def release(self) -> None:
        """Nothing waits."""


SOURCES = (FilesSource,)
DESTINATIONS = (FilesDestination,)
