"""A folder as a source, wherever it lies: `files` and `sftp` each say how to list, read and put aside.

A file is offered only when it has stopped growing, in the order of its age, and is moved only after the path has
answered: a crash between the two offers it again, and the path knows it as a duplicate.
"""

from __future__ import annotations

import asyncio
import fnmatch
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from engine import observe
from engine.clock import SystemClock
from engine.connectors.advice import advice_for
from engine.connectors.defects import accept_failed, file_failed, watch_failed
from engine.errors import Configuration, InterlockError, Reply
from engine.knobs import Knob
from engine.model import Answer, Arrival, Verdict
from engine.ports import Accept, Clock
from engine.wiring import SourceSpec

KNOBS = (
    Knob("glob", "text", "*", "which names are taken, such as *.hl7"),
    Knob("every", "duration", "1s", "how often the folder is looked at"),
    Knob("stable", "duration", "2s", "how long size and time must not have changed before a file is taken"),
    Knob("done", "text", "done", "folder inside for what was accepted"),
    Knob("error", "text", "error", "folder inside for what was refused, each with a .why.json beside it"),
    Knob("grace", "duration", "10s", "time for stop to finish the file at hand"),
)
#: Leaves room for a time and .why.json below the 255 bytes of common file systems.
_LONGEST_NAME_BYTES = 200

#: Names that writers give to what is not finished; hidden names are never taken either.
_UNFINISHED = (".tmp", ".part", ".filepart", ".partial", ".crdownload")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a listing shows it; two listings that show the same found it unchanged."""

    name: str
    size: int
    modified: int  # in the folder's own unit
    number: int = 0  # inode, where there is one


class Folder(Protocol):
    """Where files lie. Every method may raise `OSError`: then the folder is looked at again later."""

    async def open(self) -> None:
        """Make ready. Raises `Configuration` when it can never work."""
        ...

    async def entries(self) -> list[Entry]:
        """Every regular file directly inside; no links, no folders."""
        ...

    async def read(self, entry: Entry) -> bytes | None:
        """All of a file, or None when it is no longer what the entry says."""
        ...

    async def put_aside(self, entry: Entry, folder: str, why: bytes | None) -> None:
        """Move into a folder inside under a name that is free, with `why` beside it under that name + .why.json."""
        ...

    async def close(self) -> None:
        """Release everything."""
        ...


def aside_names(name: str) -> tuple[str, str]:
    """The names to try for a file that is put aside: its own, then one that only this moment has."""
    short = name if len(name.encode(errors="replace")) <= _LONGEST_NAME_BYTES else name[-50:]
    stem, dot, ending = short.rpartition(".")
    now = time.time_ns()
    return short, f"{stem}.{now}.{ending}" if dot else f"{short}.{now}"


class Ripening:
    """Which files have stopped growing: the same entry in every listing over `stable` seconds."""

    def __init__(self, glob: str, stable: float) -> None:
        self._glob = glob
        self._stable = stable
        self._since: dict[Entry, float] = {}

    def ripe(self, listing: Iterable[Entry], now: float) -> list[Entry]:
        """The files to take now, the oldest first, then by name."""
        self._since = {entry: self._since.get(entry, now) for entry in listing if self._wanted(entry.name)}
        ready = [entry for entry, since in self._since.items() if now - since >= self._stable]
        return sorted(ready, key=lambda entry: (entry.modified, entry.name))

    def _wanted(self, name: str) -> bool:
        return (
            not name.startswith(".")
            and not name.lower().endswith(_UNFINISHED)
            and "/" not in name
            and fnmatch.fnmatchcase(name, self._glob)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """How a folder is watched. Durations in seconds."""

    glob: str
    every: float
    stable: float
    done: str
    error: str
    grace: float
    max_size: int


def read_rules(spec: SourceSpec, knobs: Mapping[str, Any], where: str) -> Rules:
    """The rules that a channel's knobs make. Raises `Configuration` for folder names that lead elsewhere."""
    names = (knobs["done"], knobs["error"])
    if any(not name or "/" in name or name.startswith(".") for name in names) or names[0] == names[1]:
        advice = "Give two plain names, such as done and error; both are folders inside of the watched one."
        raise Configuration('reading options "done" and "error": not two folder names', where=where, advice=advice)
    return Rules(
        glob=knobs["glob"],
        every=knobs["every"] / 1_000_000,
        stable=knobs["stable"] / 1_000_000,
        done=names[0],
        error=names[1],
        grace=knobs["grace"] / 1_000_000,
        max_size=spec.max_size,
    )


class FolderSource:
    """Watches one folder and gives what ripens to the path, one file at a time and in order."""

    def __init__(self, channel: str, folder: Folder, rules: Rules, address: str, clock: Clock | None = None) -> None:
        self._channel = channel
        self._folder = folder
        self._rules = rules
        self._address = address
        self._clock = clock or SystemClock()
        self._ripening = Ripening(rules.glob, rules.stable)
        self._answered: dict[Entry, Verdict] = {}  # answered but not moved yet: never offered twice by this process
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._accept: Accept

    async def start(self, accept: Accept) -> None:
        """Begin to watch. Raises `Configuration` when the folder cannot be used."""
        self._accept = accept
        await self._folder.open()
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Finish the file at hand within `grace`, then let go."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait({task}, timeout=self._rules.grace)
            task.cancel()
            await asyncio.wait({task})
            await self._folder.close()

    @property
    def address(self) -> str:
        """Where it looks."""
        return self._address

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._pass()
            except Exception as error:  # a source that died unseen would leave every later file lying
                watch_failed(self._channel, error)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._rules.every)
            except TimeoutError:
                continue

    async def _pass(self) -> None:
        """Offer what is ripe; what must be sent again later keeps its place before the younger ones."""
        listing = await self._folder.entries()
        self._answered = {entry: self._answered[entry] for entry in listing if entry in self._answered}
        for entry in self._ripening.ripe(listing, time.monotonic()):
            if self._stopping.is_set() or not await self._try(entry):
                return

    async def _try(self, entry: Entry) -> bool:
        """`_take`, but one file that cannot be handled holds up no other. The folder's own trouble ends the pass."""
        try:
            return await self._take(entry)
        except (OSError, InterlockError):
            raise
        except Exception as error:
            file_failed(self._channel, error)
            return True

    async def _take(self, entry: Entry) -> bool:
        """Offer one file and put it aside; False when the pass must end here."""
        verdict = self._answered.get(entry) or await self._offer(entry)
        if verdict is None:
            return True  # it changed while it was read, or the path broke at it: it is offered again
        if verdict.reply is not Reply.ACCEPT and verdict.transient:
            return False
        self._answered[entry] = verdict
        if verdict.reply is Reply.ACCEPT:
            await self._folder.put_aside(entry, self._rules.done, None)
        else:
            await self._folder.put_aside(entry, self._rules.error, _why(verdict))
        return True

    async def _offer(self, entry: Entry) -> Verdict | None:
        if entry.size > self._rules.max_size:
            observe.connector_events[self._channel, "too_large"] += 1
            return Verdict(Reply.REJECT, "too_large", "the file is larger than `max_size`")
        raw = await self._folder.read(entry)
        if raw is None:
            return None
        arrival = Arrival(self._channel, self._clock.now(), self._address)
        try:
            answer: Answer = await self._accept(raw, arrival)
        except Exception as error:
            accept_failed(self._channel, error, arrival.at)
            return None
        return answer.verdict


def _why(verdict: Verdict) -> bytes:
    """The sidecar: what was wrong and what to do, without a value of the message."""
    told = {"code": verdict.code, "text": verdict.text, "where": verdict.where, "advice": advice_for(verdict.code)}
    return orjson.dumps({name: value for name, value in told.items() if value}, option=orjson.OPT_INDENT_2) + b"\n"
