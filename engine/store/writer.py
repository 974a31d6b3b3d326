"""Group commit: whatever arrived while the last commit ran goes into the next one.

Invariant: an operation's future gets its result only after the commit that holds it has returned; when that commit
fails, every future in it fails. There is one writer thread and no linger: waiting for company never paid.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from engine import observe
from engine.errors import StoreUnavailable

MOST_ROWS = 512
"""Operations in one commit at the most: a larger one would make its first member wait for its last."""
OURS = "The sender must send again. The log names the error: tell it to whoever maintains the engine."
"""What to do about a fault that is nobody's disk."""


class Operation(Protocol):
    """One thing to commit, and the future that waits for it."""

    future: asyncio.Future[Any]


class GroupCommit:
    """Hands operations over once a loop iteration and commits them in a thread of its own.

    `apply(operations)` runs in that thread: it commits them all and returns a result for each, or raises.
    """

    def __init__(self, apply: Callable[[Sequence[Any]], list[Any]], loop: asyncio.AbstractEventLoop) -> None:
        self._apply = apply
        self._loop = loop
        self._collected: list[Any] = []
        self._queue: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="interlock-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Put an operation into the next commit. Called on the loop's thread only."""
        if not self._collected:
            self._loop.call_soon(self._hand_over)
        self._collected.append(operation)

    def close(self) -> None:
        """Commit what was handed over, then end the thread."""
        if self._collected:
            self._hand_over()
        self._queue.put(None)
        self._thread.join()

    def _hand_over(self) -> None:
        if self._collected:
            self._queue.put(self._collected)
            self._collected = []

    def _run(self) -> None:
        waiting: list[Any] = []
        ending = False
        while not (ending and not waiting):
            if not waiting:
                ending = self._take(self._queue.get(), waiting) or ending
            while len(waiting) < MOST_ROWS and not ending:
                try:
                    ending = self._take(self._queue.get_nowait(), waiting)
                except queue.Empty:
                    break
            batch, waiting = waiting[:MOST_ROWS], waiting[MOST_ROWS:]
            if batch:
                self._commit(batch)

    @staticmethod
    def _take(handed: list[Any] | None, waiting: list[Any]) -> bool:
        if handed is None:
            return True
        waiting.extend(handed)
        return False

    def _commit(self, batch: list[Any]) -> None:
        try:
            results = self._apply(batch)
        except StoreUnavailable as error:
            self._answer(_fail, batch, [error] * len(batch))
        except Exception as error:  # a fault of ours must not end the one thread that all wait for
            fault = StoreUnavailable(f"committing: {type(error).__name__}", code="writer_failed", advice=OURS)
            observe.failed("writer_failed", fault, reason=type(error).__name__)
            self._answer(_fail, batch, [fault] * len(batch))
        else:
            self._answer(_succeed, batch, results)

    def _answer(self, how: Callable[[list[Any], list[Any]], None], batch: list[Any], results: list[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(how, batch, results)
        except RuntimeError:  # the loop is gone: nobody waits any more, and what was committed stays committed
            return


def _succeed(batch: list[Any], results: list[Any]) -> None:
    for operation, result in zip(batch, results, strict=True):
        future = operation.future
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _fail(batch: list[Any], errors: list[Any]) -> None:
    for operation, error in zip(batch, errors, strict=True):
        if not operation.future.done():
            operation.future.set_exception(error)
