"""An optional check of messages against the standard's tables, with hl7apy in processes of its own.

It only reports: nothing that hl7apy makes of a message is ever sent on. Segments are given to it one by one, because
it silently drops those its message tables do not list; each is either checked or reported as unchecked. Findings
never hold a field's value.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from engine.errors import Unreadable
from engine.formats.hl7v2.message import Message, read
from engine.formats.hl7v2.names import has_segment, nearest_version, required_segments
from engine.formats.hl7v2.segment import Segment
from engine.formats.hl7v2.separators import STANDARD
from engine.model import Finding

_KINDS = (
    (re.compile(r"Error: Missing required child (\S+)$"), "required", "a required part is missing"),
    (re.compile(r"Error: Child limit exceeded (\S+)$"), "repeated", "it repeats more often than the standard allows"),
    (re.compile(r"Error: Datatype .* is not correct for (\S+) \(it must be .*\)$"), "type", "another data type is due"),
    (re.compile(r"Warning: Value .* not in table \S+ in element (\S+)$"), "table", "the code is not in its HL7 table"),
    (re.compile(r"Warning: Exceeded max length \(-?\d+\) of (\S+)$"), "length", "it is longer than the standard says"),
    (re.compile(r"Error: Invalid children detected for .*$"), "unknown", "a part that the version does not have"),
)
_PLACE = re.compile(r"(?:[A-Z][A-Z0-9]{2}\.)?[A-Z][A-Z0-9]{2}_(\d+)(?:\.[A-Z]+_(\d+))?$")

#: What hl7apy was seen to raise, besides its own exceptions, on messages that it cannot take.
_FAILURES = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)


def check(raw: bytes) -> list[Finding]:
    """What of a message is not as its version's tables say. Takes about 5 ms a segment: see `Conformance`."""
    try:
        message = read(raw)
    except Unreadable as error:
        return [Finding("unreadable", error.where, error.text)]
    version = nearest_version(message.get("MSH-12.1") or "")
    findings = _missing(message, version)
    seen: Counter[str] = Counter()
    for segment in message.segments:
        seen[segment.name] += 1
        where = segment.name if seen[segment.name] == 1 else f"{segment.name}[{seen[segment.name]}]"
        findings.extend(_segment(segment, where, version, message))
    return findings


class Conformance:
    """Runs a check in worker processes; one that overruns is killed and replaced, and the others go on.

    `run` is a function that a process can be given, `root` the place of findings about all of a message.
    """

    def __init__(
        self,
        workers: int = 1,
        limit_seconds: float = 10.0,
        run: Callable[[bytes], list[Finding]] = check,
        root: str = "MSH",
    ) -> None:
        self.limit_seconds = limit_seconds
        self._root = root
        self._workers = workers
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for _ in range(workers):
            self._idle.put_nowait(_Worker(run))

    async def check(self, raw: bytes) -> list[Finding]:
        """The findings, or the one finding `overrun` or `broken` where the check could not end."""
        worker = await self._idle.get()
        try:
            return await asyncio.wait_for(worker.check(raw), self.limit_seconds)
        except TimeoutError:
            worker.kill()
            return [
                Finding("overrun", self._root, f"the check took longer than {self.limit_seconds:g} s and was ended")
            ]
        except BrokenProcessPool:
            worker.kill()
            return [Finding("broken", self._root, "the checking process ended by itself")]
        except asyncio.CancelledError:
            worker.kill()
            raise
        finally:
            self._idle.put_nowait(worker)

    async def close(self) -> None:
        """End the processes, after the checks that run. Nothing can be checked afterwards."""
        for _ in range(self._workers):
            (await self._idle.get()).kill()


class _Worker:
    """One process, started when it is first needed."""

    def __init__(self, run: Callable[[bytes], list[Finding]]) -> None:
        self._run = run
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0

    async def check(self, raw: bytes) -> list[Finding]:
        """The check, in the process."""
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
            self._pid = await loop.run_in_executor(self._pool, os.getpid)
        return await loop.run_in_executor(self._pool, self._run, raw)

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._pid = 0
        pool.shutdown(wait=False, cancel_futures=True)


def _missing(message: Message, version: str) -> list[Finding]:
    """Segments that every message of this type has and this one does not."""
    there = {segment.name for segment in message.segments}
    kind, trigger = message.get("MSH-9.1") or "", message.get("MSH-9.2") or ""
    needed = required_segments(version, message.get("MSH-9.3") or f"{kind}_{trigger}")
    return [Finding("required", name, "a required segment is missing") for name in needed if name not in there]


def _segment(segment: Segment, where: str, version: str, message: Message) -> list[Finding]:
    """Findings of one segment."""
    from hl7apy.exceptions import HL7apyException

    if segment.name.startswith("Z"):
        return []
    if not has_segment(version, segment.name):
        return [Finding("unknown", where, f"version {version} has no such segment")]
    try:
        report = _report(_plain(segment, message), version)
    except (HL7apyException, *_FAILURES) as error:
        return [Finding("unchecked", where, f"the check could not read the segment ({type(error).__name__})")]
    return [_finding(line, where) for line in report]


def _plain(segment: Segment, message: Message) -> str:
    """The segment in standard delimiters of four characters: all that hl7apy takes."""
    if segment.name == "MSH":
        return "|".join(["MSH", "^~\\&", *(_restated(field, message) for field in segment.fields[3:])])
    return "|".join(_restated(field, message) for field in segment.fields)


def _restated(field: str, message: Message) -> str:
    own = message.separators
    if own[:5] == STANDARD[:5]:
        return field
    return field.translate({ord(a): b for a, b in zip(own[1:5], STANDARD[1:5], strict=True) if a})


def _report(text: str, version: str) -> list[str]:
    """The lines of hl7apy's report on one segment."""
    from hl7apy import validation
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.exceptions import ValidationError
    from hl7apy.parser import parse_segment

    parsed = parse_segment(text, version=version, validation_level=VALIDATION_LEVEL.TOLERANT)
    with _in_memory(validation) as report, contextlib.suppress(ValidationError):
        validation.Validator.validate(parsed, report_file="report")
    return [line for line in report.getvalue().splitlines() if line.startswith(("Error: ", "Warning: "))]


@contextlib.contextmanager
def _in_memory(validation: Any) -> Iterator[io.StringIO]:
    """Keep hl7apy's report, which quotes values, off the disk: it can only be had by naming a file to open."""
    report = _Kept()
    validation.open = lambda *_: report
    try:
        yield report
    finally:
        del validation.open


class _Kept(io.StringIO):
    """A text file whose content outlives its closing."""

    def close(self) -> None:
        """Keep the content."""


def _finding(line: str, where: str) -> Finding:
    for pattern, code, text in _KINDS:
        match = pattern.match(line)
        if match:
            return Finding(code, _located(where, match[1] if match.groups() else ""), text)
    return Finding("unknown", where, "a part that the check does not know")


def _located(segment: str, element: str) -> str:
    """`PID.PID_3` and `PID_10.CE_3` as paths; deeper ones stay with their segment."""
    match = _PLACE.match(element)
    if not match:
        return segment
    return f"{segment}-{match[1]}" + (f".{match[2]}" if match[2] else "")
