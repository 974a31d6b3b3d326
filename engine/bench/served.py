"""`interlock serve` as a child process: started as an operator starts it, watched through what it prints.

Whoever starts one ends it: SIGTERM first, as a service manager would, and SIGKILL only when that is not heard.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"http://[^\s/]+:\d+")
_TOKEN = re.compile(r"\bilk_[\w-]{20,}")


class Served:
    """One engine on a folder of channels and a data folder."""

    def __init__(self, channels: Path, data: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.channels, self.data, self.log = channels, data, log
        self.environment = _without_settings(os.environ) | dict(environment)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 while it does not run."""
        return self.process.pid if self.process else 0

    @property
    def address(self) -> str:
        """The URL of its HTTP API, as it said itself; "" until it is ready."""
        found = _ADDRESS.search(self.output())
        return found[0] if found else ""

    @property
    def token(self) -> str:
        """The API's token, which the first start prints once."""
        found = _TOKEN.search(self.output())
        return found[0] if found else ""

    def start(self, *options: str) -> None:
        """Start it and wait until it says that it is ready.

        Raises:
            RuntimeError: when it does not, with the end of what it wrote.
        """
        command = self.command("serve", "--channels", str(self.channels), "--http", "127.0.0.1:0", *options)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        give_up = time.monotonic() + START_SECONDS
        while not self.address:
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise RuntimeError(f"the engine did not start; it wrote:\n{self.output()[-2000:]}")
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> int | None:
        """End it gracefully, or by force after a minute. Its exit status; None when it did not run."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run another command on the same data folder and wait for it."""
        return subprocess.run(self.command(*words), capture_output=True, check=False, env=self.environment)

    def command(self, *words: str) -> list[str]:
        """A command line of `interlock` on this data folder."""
        return [sys.executable, "-m", "engine.cli", *words, "--data", str(self.data)]

    def output(self) -> str:
        """Everything it has printed, without colours."""
        try:
            return _COLOUR.sub("", self.log.read_text(errors="replace"))
        except FileNotFoundError:
            return ""


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the operator's settings, which are for the operator's engine; the key may stay."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("INTERLOCK_") or name == "INTERLOCK_KEY"
    }
