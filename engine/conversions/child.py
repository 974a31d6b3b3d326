"""One child as the engine sees it: messages go out one after the other, answers come back in the same order.

Invariant: the loop never waits for a child; one that is silent over a message for too long is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from engine.conversions.frames import Frame, Frames, code_of, frame, show_channel
from engine.large import LARGE_BYTES
from engine.ports import Running
from engine.settings import PREFIX

_TOGETHER_BYTES = 64 * 1024
"""Up to this a message is copied behind its head, so that both leave in one call."""
START_SECONDS = 30.0
"""How long a child may take until it can convert."""
_END_SECONDS = 2.0


class ChildEnded(Exception):
    """The child ended before it answered; `blamed`: it was at this message then."""

    def __init__(self, blamed: bool) -> None:
        super().__init__("the child ended")
        self.blamed = blamed


class Child(asyncio.Protocol):
    """A child process and the connection to it."""

    def __init__(self, limit_seconds: float) -> None:
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.answered = False
        self.overran = False
        self.large = 0  # large messages it has
        self.unfit: set[str] = set()  # channels for which it cannot convert now
        self.jobs: deque[tuple[asyncio.Future[Frame], bool]] = deque()
        self._limit = limit_seconds
        self._since = 0.0  # when it came to the first of its messages
        self._timer: asyncio.TimerHandle | None = None
        self._told: dict[str, tuple[Running, str]] = {}
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.WriteTransport | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has one."""
        return self._process.pid if self._process else 0

    @property
    def status(self) -> int | None:
        """How it ended: negative is a signal; None while it is not known."""
        return self._process.returncode if self._process else None

    async def start(self, folders: Sequence[Path]) -> None:
        """Start the process and wait until it can convert.

        Raises:
            OSError, ChildEnded, TimeoutError: it did not; it has to be closed all the same.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await self._spawn(theirs.fileno(), folders)
            except BaseException:
                ours.close()
                raise
        await self._loop.create_unix_connection(lambda: self, sock=ours)
        waiting = [asyncio.ensure_future(self.ready.wait()), asyncio.ensure_future(self.ended.wait())]
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        if self.ended.is_set():
            raise ChildEnded(blamed=False)

    async def _spawn(self, number: int, folders: Sequence[Path]) -> asyncio.subprocess.Process:
        """In a session of its own, so that Ctrl-C on a terminal reaches the engine alone."""
        words = ("-P", "-m", "engine.conversions.serving", str(number), *map(str, folders))
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            pass_fds=(number,),
            stdin=asyncio.subprocess.DEVNULL,
            env=_environment(os.environ),
            start_new_session=True,
        )

    async def close(self) -> None:
        """Hang up, so that it ends, and see that it does."""
        if self._transport is not None:
            self._transport.abort()
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def converts_for(self, running: Running) -> bool:
        """False when it is gone, or known to have other code or tables than the engine."""
        told = self._told.get(running.channel.name)
        is_unfit = running.channel.name in self.unfit and told is not None and told[0] is running
        return not is_unfit and not self.ended.is_set()

    # messages

    def tell(self, running: Running) -> str:
        """Tell it a channel's wiring, where it does not know it; what it has to call the code that it uses."""
        name = running.channel.name
        told = self._told.get(name)
        if told is None or told[0] is not running:
            told = self._told[name] = running, code_of(running.channel)
            self.unfit.discard(name)
            self._write(frame(["wiring", show_channel(running.channel)]))
        return told[1]

    def tell_tables(self) -> None:
        """Let it read its tables again, before what it is given next."""
        self.unfit.clear()
        self._write(frame(["tables"]))

    def ask(self, raw: bytes, running: Running, destination: str, received_at: int) -> asyncio.Future[Frame]:
        """Give it a message of a channel that it was told; its answer. Raises `ChildEnded` through the future."""
        future: asyncio.Future[Frame] = self._loop.create_future()
        is_large = len(raw) > LARGE_BYTES
        self.large += is_large
        self.jobs.append((future, is_large))
        if len(self.jobs) == 1:
            self._begin()
        self._write(frame(["convert", running.channel.name, destination, received_at], raw))
        return future

    def _write(self, parts: Frame) -> None:
        assert self._transport is not None
        if len(parts[1]) <= _TOGETHER_BYTES:
            self._transport.write(b"".join(parts))
        else:
            self._transport.write(parts[0])
            self._transport.write(parts[1])

    # the time limit

    def _begin(self) -> None:
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._limit, self._look)

    def _look(self) -> None:
        """Moving a deadline costs an assignment: only here it is looked at."""
        self._timer = None
        if not self.jobs:
            return
        left = self._since + self._limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.overran = True
            self.kill()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; the process may still be starting."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Give each answer to who waits for it."""
        for found in self._frames.feed(data):
            if not self.ready.is_set():
                self.ready.set()
                continue
            future, is_large = self.jobs.popleft()
            self.answered = True
            self.large -= is_large
            self._since = self._loop.time()
            if not future.done():
                future.set_result(found)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone: the first of its messages is what it was at."""
        if self._timer is not None:
            self._timer.cancel()
        jobs, self.jobs = self.jobs, deque()
        for place, (future, _) in enumerate(jobs):
            if not future.done():
                future.set_exception(ChildEnded(blamed=place == 0))
        self.ended.set()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The engine's, with its search path and without its settings: a child needs neither the key nor the store."""
    kept = {name: text for name, text in environ.items() if not name.startswith(PREFIX)}
    return kept | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
