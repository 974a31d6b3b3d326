"""One bench run: start a sink, the subject and the load, drive the phases, and gather the figures.

The subject is measured from outside: over its sockets, through /proc, and by the size of its folder. Delivered a
second runs from the first send to the last arrival, drain included, so that a queue that grows is no speed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from engine.bench import report
from engine.bench.load import LAST_ANSWERS_SECONDS, Phase, Record, load_process
from engine.bench.messages import new_tag
from engine.bench.process import cpu_seconds, helper, resident_mb
from engine.bench.sinks import Arrivals, Take, Wait, sink_process
from engine.bench.subject import Interlock

WARM_UP = Phase(seconds=1.5, count=4000)
OPEN = Phase(seconds=4.0, rate=1000.0)
IDLE = Phase(count=200, pause=0.01)
STALL_SECONDS = 20.0
_SAMPLE_SECONDS = 0.25

Progress = Callable[[str, float], None]
"""Told the name of each phase, and about how many seconds it takes, when it begins."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `rate` 0 is a closed loop; else the main phase is an open loop of so many messages a second."""

    connections: int = 32
    seconds: float = 10.0
    to: str = "fhir"
    patients: int = 1000
    rate: float = 0.0


class Subject(Protocol):
    """What is measured: it listens for MLLP, and delivers to a sink on loopback."""

    def start(self, sink_port: int) -> tuple[int, int]:
        """Start, and say the process id and the MLLP port."""
        ...

    def stop(self) -> None:
        """End it gracefully. Safe to call twice."""
        ...

    def stored_bytes(self) -> int | None:
        """The size of everything it keeps, or None when that cannot be seen from here."""
        ...

    def verdict(self) -> report.Figures:
        """What it says of itself afterwards."""
        ...


class Bench:
    """The processes of a run while they live: the subject by its id, load and sink by their pipes."""

    def __init__(self, pid: int, load: Connection, sink: Connection) -> None:
        self.pid, self.load, self.sink = pid, load, sink
        self.peak_mb: float | None = None
        self.acked = 0
        self.sent = 0

    def phase(self, phase: Phase) -> tuple[Record, Arrivals]:
        """Run one phase and its drain."""
        record: Record = self._ask(self.load, phase, phase.seconds + phase.count * phase.pause + LAST_ANSWERS_SECONDS)
        self.sent += len(record.sent)
        self.acked += sum(1 for at in record.acked if at)
        self._ask(self.sink, Wait(self.acked, STALL_SECONDS), float("inf"))
        arrivals: Arrivals = self._ask(self.sink, Take(), LAST_ANSWERS_SECONDS)
        return record, arrivals

    def _ask(self, pipe: Connection, order: object, seconds: float) -> Any:
        """Give an order and wait for the answer; look at the subject's memory meanwhile."""
        pipe.send(order)
        give_up = time.monotonic() + seconds
        while not pipe.poll(_SAMPLE_SECONDS):
            self.peak_mb = max(self.peak_mb or 0.0, resident_mb(self.pid) or 0.0) or None
            if time.monotonic() > give_up:
                raise TimeoutError("a process of the bench gave no answer in time")
        try:
            return pipe.recv()
        except EOFError:
            raise RuntimeError("a process of the bench ended before its time; what it wrote is above") from None


def measure(subject: Subject, plan: Plan, progress: Progress = lambda name, seconds: None) -> report.Figures:
    """Run the phases on one subject and compute the figures. The subject is ended in any case."""
    tag = new_tag(int.from_bytes(os.urandom(4)))
    progress("start", 2)
    with helper(sink_process, plan.to, tag) as sink, _ended(subject):
        pid, port = subject.start(sink.recv())
        before = subject.stored_bytes()
        with helper(load_process, port, plan.connections, plan.patients, tag) as load:
            load.recv()
            bench = Bench(pid, load, sink)
            figures = _phases(bench, plan, progress)
        progress("stop", 2)
        subject.stop()
        figures |= {"rss_mb": _rounded(bench.peak_mb, 1), "messages_in_all": bench.sent}
        figures["stored_bytes_per_message"] = _growth(before, subject.stored_bytes(), bench.acked)
        return figures | subject.verdict()


def _phases(bench: Bench, plan: Plan, progress: Progress) -> report.Figures:
    """Warm-up, the main phase, the open loop for the acknowledgement's times, one by one for the delivery's."""
    progress("warm-up", WARM_UP.seconds)
    bench.phase(WARM_UP)
    progress("main", plan.seconds)
    cpu = cpu_seconds(bench.pid)
    main = bench.phase(Phase(seconds=plan.seconds, rate=plan.rate))
    used = cpu_seconds(bench.pid)
    figures: report.Figures = {"to": plan.to, "connections": plan.connections, "patients": plan.patients}
    figures |= {"rate": plan.rate, "cpu_ms_per_message": None, **report.main_figures(*main)}
    if cpu is not None and used is not None:
        figures["cpu_ms_per_message"] = round((used - cpu) * 1e3 / len(main[0].sent), 4)
    progress("open loop", OPEN.seconds)
    opened = main if plan.rate else bench.phase(OPEN)
    figures |= report.pair("ack", report.ack_times(opened[0]))
    progress("idle", IDLE.count * (IDLE.pause + 0.002))
    idle = bench.phase(IDLE)
    figures |= report.pair("delivery", report.delivery_times(*idle))
    return report.add_faults(figures, *([idle] if plan.rate else [opened, idle]))


@contextlib.contextmanager
def _ended(subject: Subject) -> Iterator[None]:
    try:
        yield
    finally:
        subject.stop()


def _growth(before: int | None, after: int | None, messages: int) -> float | None:
    return None if before is None or after is None or not messages else round((after - before) / messages, 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def run_bench(
    connections: int = 32,
    seconds: float = 10.0,
    to: str = "fhir",
    patients: int = 1000,
    rate: float = 0.0,
    rounds: int = 1,
    store: str | None = None,
    broker: str | None = None,
    data: Path | None = None,
    progress: Progress = lambda name, seconds: None,
) -> report.Figures:
    """Measure the engine; several rounds give medians, and the worst of what must never happen.

    `data` is a data folder to run on, kept afterwards; without it each round has a fresh one that is removed.

    Raises:
        ValueError: when `to` is neither "fhir" nor "mllp", or a number is not positive.
        RuntimeError: when the engine does not start or nothing is delivered, with what it wrote.
    """
    if to not in ("fhir", "mllp"):
        raise ValueError('to must be "fhir" or "mllp"')
    if min(connections, seconds, patients, rounds) <= 0 or rate < 0:
        raise ValueError("connections, seconds, patients and rounds must be more than 0, rate not less")
    plan = Plan(connections, seconds, to, patients, rate)
    results = []
    for _ in range(rounds):
        with Interlock(to, connections, store=store, broker=broker, data=data) as engine:
            results.append(measure(engine, plan, progress))
    return {"rounds": rounds, **report.medians(results)}
