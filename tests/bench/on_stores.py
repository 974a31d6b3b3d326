"""The engine on SQLite and on PostgreSQL, as one process and as several, and the prototype, in the same minutes.

    python tests/bench/on_stores.py --prototype ../shared/prototype [--to fhir|mllp] [--connections 1,8,32]

PostgreSQL is the server that INTERLOCK_TEST_POSTGRES names, Redis that of INTERLOCK_TEST_REDIS; both are left as they
were. CPU and memory are those of the process that listens.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.bench.run import Plan, Subject, measure
from engine.bench.served import Served
from engine.bench.subject import Interlock
from tests.bench.beside_prototype import JUDGED, Prototype
from tests.postgres import database
from tests.servers import redis_url

KEY = base64.b64encode(bytes(range(32))).decode()
SHOWN = ("acked_per_s", "delivered_per_s", "ack_loaded_p50_ms", "ack_p50_ms", "ack_p99_ms", "delivery_p50_ms",
         "cpu_ms_per_message", "order_violations", "lost", "duplicated", "balance_open")  # fmt: skip
WAYS = ("prototype, judged", "SQLite", "PostgreSQL, one process", "PostgreSQL, ingress and 1 worker",
        "PostgreSQL, ingress and 2 workers")  # fmt: skip


class Several(Interlock):
    """An ingress, which is what is measured, and workers beside it."""

    def __init__(self, to: str, connections: int, role: str, workers: int) -> None:
        super().__init__(to, connections, store=database().url, broker=redis_url() if workers else None)
        self.environment |= {"INTERLOCK_KEY": KEY, "INTERLOCK_ROLE": role}
        self.number, self.workers = workers, list[Served]()

    def start(self, sink_port: int) -> tuple[int, int]:
        """The workers come first: the first message finds them."""
        started = super().start(sink_port)
        for number in range(self.number):
            at = self.engine
            environment = {name: value for name, value in at.environment.items() if name.startswith("INTERLOCK_")}
            worker = Served(at.channels, self.folder / f"worker-{number}", self.folder / f"worker-{number}.log",
                            environment | {"INTERLOCK_ROLE": "worker"})  # fmt: skip
            worker.environment |= environment | {"INTERLOCK_ROLE": "worker"}
            worker.start()
            self.workers.append(worker)
        return started

    def stop(self) -> None:
        """End the ingress, then the workers."""
        super().stop()
        while self.workers:
            self.workers.pop().stop()


@contextlib.contextmanager
def subject(way: str, prototype: Path, to: str, connections: int) -> Iterator[Subject]:
    if way.startswith("prototype"):
        with tempfile.TemporaryDirectory(prefix="interlock-prototype-") as folder:
            yield Prototype(prototype, Path(folder), to, JUDGED)
    elif way == "SQLite":
        with Interlock(to, connections) as engine:
            yield engine
    else:
        database().empty()
        workers = int(way.split()[-2]) if "ingress" in way else 0
        with Several(to, connections, "ingress" if workers else "all", workers) as engine:
            try:
                yield engine
            finally:
                engine.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototype", type=Path, required=True)
    parser.add_argument("--to", choices=("fhir", "mllp"), default="fhir")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="1,8,32")
    arguments = parser.parse_args()
    shown = Table("way", "connections", *SHOWN)
    for connections in map(int, arguments.connections.split(",")):
        for way in WAYS:
            with subject(way, arguments.prototype, arguments.to, connections) as engine:
                figures = measure(engine, Plan(connections, arguments.seconds, arguments.to), lambda name, left: None)
            shown.add_row(way, str(connections), *(str(figures.get(name, "")) for name in SHOWN))
            print(way, connections, {name: figures.get(name) for name in SHOWN}, flush=True)
    Console(width=220).print(shown)


if __name__ == "__main__":
    main()
