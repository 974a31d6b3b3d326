"""`interlock serve` as a child process on a folder of its own: started, killed at a point, started again, ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .laboratory import HOLD, Where

ROOT = Path(__file__).parents[2]

SITE = f'''
from engine.errors import Held
from mappings.hl7v2_fhir import transaction


def convert(parsed, tables, context):
    """The shipped conversion, but for messages that a person must see first."""
    if b"{HOLD}" in parsed.write():
        raise Held("a note asks for a person", code="held_by_site")
    return transaction(parsed, tables, context)
'''

RETRY = '{ attempts = 1000, first = "10ms", cap = "40ms", give_up = "7d" }'


def channel_toml(name: str, *destinations: str, listen: str = "mllp://127.0.0.1:0", **more: str) -> str:
    """A channel's text; `more` is `class` as kind, lines of [source] as source."""
    return (
        f'name = "{name}"\ntitle = "{name}"\nclass = "{more.get("kind", "result")}"\n[source]\nlisten = "{listen}"\n'
        'patient = { authority = "INTERLOCK-TEST", type = "MR" }\n' + more.get("source", "") + "\n".join(destinations)
    )


def destination_toml(name: str, to: str, **keys: str) -> str:
    """A destination's text; values are written as TOML."""
    lines = {"retry": RETRY, "timeout": '"10s"', **keys}
    return "\n".join(
        ["\n[[destination]]", f'name = "{name}"', f'to = "{to}"', *(f"{key} = {value}" for key, value in lines.items())]
    )


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Engine:
    """One data folder and the process that works on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.channels = folder / "channels"
        self.data = folder / "data"
        self.log = folder / "log"
        self.ready: dict[str, Any] = {}
        self.process: subprocess.Popen[str] | None = None
        self.where: dict[str, Where] = {}
        self.wrapper: Sequence[str] = ()
        self.more_environment: dict[str, str] = {}
        self.arguments: Sequence[str] = ()
        self.channels.mkdir(parents=True, exist_ok=True)
        (folder / "faults_site.py").write_text(SITE)

    def write_channel(self, name: str, text: str) -> None:
        (self.channels / name).mkdir(exist_ok=True)
        (self.channels / name / "channel.toml").write_text(text)
        self.where.setdefault(name, Where())

    def environment(self, failpoint: str = "") -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
        path = os.pathsep.join((str(ROOT), str(self.folder)))
        armed = {"INTERLOCK_FAILPOINT": failpoint} if failpoint else {}
        return {**clean, "PYTHONPATH": path, "INTERLOCK_DISK_RESERVE": "1MiB", **self.more_environment, **armed}

    async def start(self, failpoint: str = "", grace: int = 20) -> bool:
        """Start; False when it died before it was ready."""
        command = [
            *self.wrapper, sys.executable, "-m", "engine.cli", "serve", "--channels", str(self.channels),
            "--data", str(self.data), "--http", "127.0.0.1:0", "--agreements-in-place", "--json",
            *self.arguments,
        ]  # fmt: skip
        environment = {**self.environment(failpoint), "INTERLOCK_GRACE_SECONDS": str(grace)}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 60)
        if line.strip() == "{":  # an error is a document of several lines
            raise AssertionError(self.process.stdout.read())
        self.ready = json.loads(line) if line else {}
        self.take_addresses(self.ready.get("channels", ()))
        return bool(line)

    def take_addresses(self, channels: Sequence[dict[str, Any]]) -> None:
        """Note where each channel listens."""
        for channel in channels:
            if channel["address"]:
                self.where.setdefault(channel["name"], Where()).port = urlsplit(channel["address"]).port

    async def died(self, seconds: float = 30) -> int:
        """Wait for the end; the exit status."""
        assert self.process is not None
        status = await asyncio.to_thread(self.process.wait, seconds)
        self._forget()
        return status

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return await self.died()

    def end(self) -> None:
        """Whatever still runs is killed: tests leave nothing behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._forget()

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        for where in self.where.values():
            where.port = None

    async def call(self, command: str, **arguments: Any) -> Any:
        """A command over the control socket."""
        from engine.control import call

        return await asyncio.to_thread(call, self.data, command, **arguments)

    async def http(self, path: str) -> tuple[int, bytes]:
        """GET from the HTTP side, without a token."""
        url = urlsplit(self.ready["http"])
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def run_python(self, *words: str, failpoint: str = "") -> int:
        """Run a program of a test's own in the engine's environment; its exit status."""
        environment = self.environment(failpoint)
        return subprocess.run([sys.executable, *words], env=environment, check=False, timeout=60).returncode

    def command(self, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command of the command line to its end."""
        return subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments], env=self.environment(failpoint), cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
