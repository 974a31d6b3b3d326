"""The engine beside the prototype of its path, in the same minutes, with the same load and the same sinks.

Rounds are interleaved, so that a machine that slows down slows both; what is printed is medians and their ratio.

    python tests/bench/beside_prototype.py --prototype ../shared/prototype [--to fhir|mllp] [--rounds 3]
        [--seconds 8] [--fsync-us 100]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from engine.bench import report
from engine.bench.process import folder_bytes, free_port, wait_for_port
from engine.bench.run import Plan, measure
from engine.bench.subject import Interlock

JUDGED = ("--lanes", "32", "--strict-outcome", "--store-sent")
START_SECONDS = 20.0


class Prototype:
    """`proto.py` as a subject of the bench, in a copy of its folder."""

    def __init__(self, source: Path, folder: Path, to: str, options: tuple[str, ...]) -> None:
        self.source, self.folder, self.to, self.options = source, folder, to, options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, sink_port: int) -> tuple[int, int]:
        for path in self.source.glob("*.py"):
            shutil.copyfile(path, self.folder / path.name)
        self.data = self.folder / "data"
        self.data.mkdir()
        port = free_port()
        command = [sys.executable, "proto.py", "--port", str(port), "--dport", str(sink_port), "--db", "data/proto.db"]
        command += ["--dest", "http"] if self.to == "fhir" else ["--dest", "mllp", "--transform", "none"]
        self.process = subprocess.Popen([*command, *self.options], cwd=self.folder, stdout=subprocess.DEVNULL)
        wait_for_port(port, START_SECONDS)
        return self.process.pid, port

    def stop(self) -> None:
        process, self.process = self.process, None
        if process:
            process.send_signal(signal.SIGTERM)
            process.wait()

    def stored_bytes(self) -> int | None:
        return folder_bytes(self.data)

    def verdict(self) -> report.Figures:
        return {}


@contextlib.contextmanager
def subject(name: str, arguments: argparse.Namespace):
    if name == "interlock":
        with Interlock(arguments.to, arguments.connections) as engine:
            yield engine
    else:
        options = JUDGED if "judged" in name else ()
        with tempfile.TemporaryDirectory(prefix="interlock-prototype-") as folder:
            yield Prototype(arguments.prototype, Path(folder), arguments.to, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("INTERLOCK_SHARED", Path(__file__).parents[3] / "shared"))
    parser.add_argument("--prototype", type=Path, default=shared / "prototype", help="the prototype's folder")
    parser.add_argument("--to", choices=("fhir", "mllp"), default="fhir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--only", action="append", help="one of the subjects; may be repeated")
    parser.add_argument("--fsync-us", type=int, default=0, help="make every fsync cost so much more (needs gcc, Linux)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextlib.contextmanager
def slow_disk(prototype: Path, microseconds: int):
    """Give every process that is started meanwhile a disk whose fsync costs so much more."""
    if not microseconds:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="interlock-slowsync-") as folder:
        library = Path(folder) / "slowsync.so"
        build = ["gcc", "-O2", "-w", "-shared", "-fPIC", "-o", str(library), str(prototype / "slowsync.c"), "-ldl"]
        subprocess.run(build, check=True)
        os.environ |= {"LD_PRELOAD": str(library), "SLOWSYNC_US": str(microseconds)}
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["SLOWSYNC_US"]


def main() -> None:
    arguments = parse()
    with slow_disk(arguments.prototype, arguments.fsync_us):
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    names = arguments.only or ["interlock", "prototype, judged", "prototype, default"]
    plan = Plan(arguments.connections, arguments.seconds, arguments.to, arguments.patients)
    rounds: dict[str, list[report.Figures]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for name in names:
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
            with subject(name, arguments) as measured:
                rounds[name].append(measure(measured, plan))
    columns = {name: report.medians(figures) for name, figures in rounds.items()}
    ratios = report.ratios(columns)
    if arguments.json:
        print(json.dumps({"columns": columns, "ratios": ratios}, default=str))
        return
    console = Console()
    console.print(report.table(columns))
    for name, ratio in ratios.items():
        console.print(f"{names[0]} / {name}: {ratio:.2f} of its delivered a second")


if __name__ == "__main__":
    main()
