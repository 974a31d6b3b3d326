"""The engine as a bench measures it: one channel in a folder made for the run, nothing an operator could not set."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from types import TracebackType

import orjson

from engine.bench.messages import table
from engine.bench.process import folder_bytes, free_port
from engine.bench.report import Figures
from engine.bench.served import Served

_CHANNEL = """\
name = "bench"
title = "Bench"
class = "result"
environment = "test"

[source]
listen = "mllp://127.0.0.1:{port}"
accept = ["ORU^R01"]
patient = {{ authority = "INTERLOCK-TEST", type = "MR" }}

[[map]]
field = "OBX-3"
table = "bench-loinc"

[[destination]]
name = "sink"
connections = {connections}
"""

_DESTINATIONS = {
    "fhir": 'to = "fhir+http://127.0.0.1:{port}/fhir"\nconvert = "mappings.hl7v2_fhir:transaction"\n',
    "mllp": 'to = "mllp://127.0.0.1:{port}"\n',
}


class Interlock:
    """A child process `interlock serve` with one channel: MLLP in, one table, FHIR or MLLP out."""

    def __init__(
        self, to: str, connections: int, store: str | None = None, broker: str | None = None, data: Path | None = None
    ) -> None:
        self.to, self.connections, self.store, self.given_data = to, connections, store, data
        self.environment = {"INTERLOCK_LOG_LEVEL": "warning"}
        self.environment |= {"INTERLOCK_STORE": store} if store else {}
        self.environment |= {"INTERLOCK_BROKER": broker} if broker else {}

    def __enter__(self) -> Interlock:
        """Make the folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="interlock-bench-")
        self.folder = Path(self._folder.name)
        environment = self.environment | {"INTERLOCK_TABLES": str(self.folder / "tables")}
        data = self.given_data or self.folder / "data"
        self.engine = Served(self.folder / "channels", data, self.folder / "engine.log", environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the engine and remove the folder."""
        self.engine.stop()
        self._folder.cleanup()

    def start(self, sink_port: int) -> tuple[int, int]:
        """Write the channel and its table, and start the engine. Raises `RuntimeError` when it does not start."""
        port = free_port()
        self._write(port, sink_port)
        self.engine.start()
        return self.engine.pid, port

    def stop(self) -> None:
        """End the engine gracefully."""
        self.engine.stop()

    def stored_bytes(self) -> int | None:
        """The size of the data folder; None when the store is elsewhere."""
        return None if self.store else folder_bytes(self.engine.data)

    def verdict(self) -> Figures:
        """Whether the balance is open, as `interlock balance` sees it; None when it cannot say."""
        done = self.engine.ask("balance", "--json")
        try:
            return {"balance_open": done.returncode != 0, "balance": orjson.loads(done.stdout)}
        except orjson.JSONDecodeError:
            return {"balance_open": None, "balance": done.stderr.decode(errors="replace")[-500:]}

    def _write(self, port: int, sink_port: int) -> None:
        channel, tables = self.engine.channels / "bench", self.folder / "tables"
        channel.mkdir(parents=True)
        tables.mkdir()
        text = _CHANNEL.format(port=port, connections=self.connections) + _DESTINATIONS[self.to].format(port=sink_port)
        (channel / "channel.toml").write_text(text)
        with (tables / "bench-loinc.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("local_code", "code", "display", "system"), *table()])
