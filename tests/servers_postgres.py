"""A PostgreSQL server of a test's own: with settings of its own, stopped, killed and started again at will.

As root the server runs as the user `postgres`, as anybody else as that user. Without the programs a test is skipped on
a laptop and fails in CI.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import missing
from tests.faults.engine_child import free_port

START_SECONDS = 60
FAST = {"shared_buffers": "16MB", "max_connections": "100", "autovacuum": "off"}
"""A small server starts soon."""


class PostgresServer:
    """One cluster on a free port of 127.0.0.1; its administrator needs no password."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = {**FAST, **settings}
        self.port = free_port()
        self.programs = _programs()

    @property
    def url(self) -> str:
        """The administrator's URL: what `tests.postgres.Database` takes as its server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the cluster, once."""
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def start(self, **settings: str) -> None:
        """Start it, under settings that replace those of before; returns when it takes connections."""
        self.settings.update(settings)
        given = {
            **self.settings, "port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        }  # fmt: skip
        options = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        self._run("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """End it as an administrator does: connections are cut, everything is written."""
        self._run("pg_ctl", "stop", "-w", "-m", "fast")

    def kill(self) -> None:
        """End every process of it at once, as a crash does; returns when none is left."""
        processes = self.processes()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(_runs(process) for process in processes):
            assert time.monotonic() < deadline, "the server does not die"
            time.sleep(0.01)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def restart(self, **settings: str) -> None:
        """Stop and start."""
        self.stop()
        self.start(**settings)

    def freeze(self) -> None:
        """Stop every process without ending it: connections stay open, and nothing is answered."""
        for process in self.processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        for process in self.processes():
            os.kill(process, signal.SIGCONT)

    def processes(self) -> list[int]:
        """The server's process and its children; none when it does not run."""
        with suppress(OSError, ValueError, IndexError):
            first = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
            if _runs(first):
                children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
                return [first, *map(int, children)]
        return []

    def remove(self) -> None:
        """End it and forget every byte."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, str(self.programs / program), "-D", str(self.folder), *words]
        with tempfile.TemporaryFile("w+") as said:  # a pipe would be inherited by the server and never end
            ran = subprocess.run(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, cwd="/", check=False)
            said.seek(0)
            assert ran.returncode == 0, f"{program}: {said.read()}{self._log()}"

    def _log(self) -> str:
        with suppress(OSError):
            return (self.folder / "log").read_text()[-2000:]
        return ""


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A running server, removed at the end: `with postgres_server(fsync="off") as server: ...`"""
    folder = Path(tempfile.mkdtemp(prefix="interlock-postgres-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = PostgresServer(folder, settings)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()


def _programs() -> Path:
    """The folder of the newest version's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    if not found and beside is None:
        missing("no programs of a PostgreSQL server; on Debian: apt-get install postgresql")
    return found[-1].parent if found else Path(str(beside)).parent


def _runs(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
