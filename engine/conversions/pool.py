"""The pool: so many children, each replaced when it dies, and who converts what.

Invariant: what a child answered counts only where it used the code and the tables that are live here; else the engine
converts itself. A message that a child died of goes to another child, never into the engine, and at the second death
its conversion has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from engine import observe
from engine.conversions.child import START_SECONDS, Child, ChildEnded
from engine.conversions.frames import Answered, Raised, read_answer, tables_of
from engine.errors import Held
from engine.large import LARGE_BYTES, beside
from engine.model import Converted
from engine.ports import ApplyMaps, Running, Tables
from engine.transform import transform
from engine.wiring import DestinationSpec

LIMIT_SECONDS = 30.0
"""A child that is at one message for longer is ended."""
MOST_DEATHS = 2
"""So many children a message may cost."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""How long until a child is started again that ended before it had answered anything."""


class ConversionFailed(Exception):
    """A conversion in a child raised, or the child did not live through it."""


class Conversions:
    """Converts for the path, in children where it pays."""

    def __init__(
        self,
        workers: int,
        folders: Sequence[Path],
        tables: Tables,
        apply_maps: ApplyMaps,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self.children: list[Child] = []  # those that can convert
        self._workers, self._folders = workers, folders
        self._tables, self._apply_maps = tables, apply_maps
        self._limit = limit_seconds
        self._revisions = tables_of(tables)
        self._changed = asyncio.Event()  # there is another child, or one that may convert again
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the children; until they can convert, the engine does."""
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep()) for _ in range(self._workers)]

    async def stop(self) -> None:
        """End the children."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def tables_changed(self) -> None:
        """The tables here were read again: the children have to read theirs."""
        revisions = tables_of(self._tables)
        for child in self.children:
            if child.unfit or revisions != self._revisions:
                child.tell_tables()
        self._revisions = revisions
        self._changed.set()

    # converting

    async def convert(self, raw: bytes, running: Running, spec: DestinationSpec, received_at: int) -> Converted:
        """What `transform` gives, from a child where that pays.

        Raises:
            Held: the conversion must not go on by itself.
            ConversionFailed: it raised, or it cost more children than one message may.
        """
        child = self._choose(len(raw), running, spec)
        deaths = 0
        while child is not None:
            expected = child.tell(running), self._revisions
            try:
                small, payload = await child.ask(raw, running, spec.name, received_at)
            except ChildEnded as ended:
                deaths += ended.blamed
                child = await self._another(deaths, running) if deaths else self._choose(len(raw), running, spec)
                continue
            answered = await beside(len(small), read_answer, small, payload)
            if answered.used == expected:
                return _result(answered, running, spec)
            self._declare_unfit(child, running)
            child = await self._another(deaths, running) if deaths else None
        return await beside(len(raw), transform, raw, running, spec, self._tables, self._apply_maps, received_at)

    def _choose(self, size: int, running: Running, spec: DestinationSpec) -> Child | None:
        """The child that has least to do; None where the engine converts faster itself.

        Nothing small waits behind something large, and what only maps change is not worth the way.
        """
        if not spec.convert and (size <= LARGE_BYTES or not running.channel.maps):
            return None
        best = None
        for child in self.children:
            if not child.converts_for(running) or (child.large and size <= LARGE_BYTES):
                continue
            if best is None or (child.large, len(child.jobs)) < (best.large, len(best.jobs)):
                best = child
        return best

    async def _another(self, deaths: int, running: Running) -> Child:
        """A child for what another one died of; it is worth waiting for."""
        if deaths >= MOST_DEATHS:
            raise ConversionFailed("every child that was given this message ended over it")
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    for child in self.children:
                        if child.converts_for(running):
                            return child
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ConversionFailed("there is no other child for a message that one ended over") from None

    def _declare_unfit(self, child: Child, running: Running) -> None:
        """Its code or tables are not those that are live here: until they are, nothing of this channel goes there."""
        name = running.channel.name
        if name not in child.unfit:
            child.unfit.add(name)
            observe.event("child_unfit", channel=name)

    # children

    async def _keep(self) -> None:
        """See that there is one child more, for as long as the engine runs."""
        pause = 0.0
        while True:
            child = Child(self._limit)
            try:
                await self._serve_until_ended(child)
            finally:
                await child.close()
            observe.event("child_ended", reason="overrun" if child.overran else "ended", code=child.status or 0)
            pause = 0.0 if child.answered else min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, pause * 2))
            await asyncio.sleep(pause)

    async def _serve_until_ended(self, child: Child) -> None:
        revisions = self._revisions
        try:
            await child.start(self._folders)
        except (OSError, ChildEnded, TimeoutError) as error:
            observe.event("child_not_started", error=type(error).__name__)
            return
        if revisions != self._revisions:  # it may have read its tables before they changed
            child.tell_tables()
        self.children.append(child)
        self._changed.set()
        try:
            await child.ended.wait()
        finally:
            self.children.remove(child)


def _result(answered: Answered, running: Running, spec: DestinationSpec) -> Converted:
    result = answered.result
    if isinstance(result, Held):
        raise result
    if isinstance(result, Raised):
        observe.event(
            "conversion_raised",
            channel=running.channel.name,
            destination=spec.name,
            error=result.error,
            where=result.where,
        )
        raise ConversionFailed(result.error)
    assert result is not None
    return result
