"""Servers that tests need: one that is there already, found and shared fairly, or one of a test's own that it may kill.

A missing server skips a test on a laptop, with the line that installs it, and fails it in CI.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import redis

from tests.conftest import missing

INSTALL = "on Debian: apt-get install redis-server"
STANDARD = "redis://127.0.0.1:6379/15"

_held: list[IO[str]] = []
"""The locks of this process: they end with it, however it ends."""


def redis_url() -> str:
    """An empty database of the server that INTERLOCK_TEST_REDIS names, for this test process alone."""
    url = os.environ.get("INTERLOCK_TEST_REDIS", STANDARD)
    try:
        return _claimed(url)
    except (redis.ConnectionError, redis.TimeoutError):
        missing(f"no Redis at {urlsplit(url).hostname}:{urlsplit(url).port}; {INSTALL}")
        raise


@cache
def _claimed(url: str) -> str:
    """The first number from the URL's downwards that no other test process has and that holds nothing of others."""
    first = int(urlsplit(url).path.strip("/") or 0)
    for number in (first, *range(first - 1, 0, -1)):
        one = urlsplit(url)._replace(path=f"/{number}").geturl()
        if _lock(number) and _is_free(one):
            flush(one)
            return one
    raise AssertionError(f"every database of {url} is in use")


def _lock(number: int) -> bool:
    held = open(Path(tempfile.gettempdir()) / f"interlock-test-redis-{number}.lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        return False
    _held.append(held)
    return True


def _is_free(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return all(key.startswith(b"interlock:") for key in client.scan_iter(count=1000))


def flush(url: str) -> None:
    """Empty one database."""
    with redis.Redis.from_url(url) as client:
        client.flushdb()


class RedisServer:
    """A redis-server of its own that keeps nothing on disk: killed and started again on the same port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*words, "--dir", str(self.folder)], stdout=log, stderr=log)
        until = time.monotonic() + 10
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "redis-server did not answer within 10 s"
            time.sleep(0.01)

    def answers(self) -> bool:
        """True when it takes commands."""
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """SIGKILL; everything it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Its port takes connections, and it answers nothing, until the block ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client of the test's own."""
        with redis.Redis(port=self.port) as client:
            yield client


@contextmanager
def redis_server(*, up: bool = True) -> Iterator[RedisServer]:
    """A server on a free port, killed at the end; with `up=False` it is the test that starts it."""
    if shutil.which("redis-server") is None:
        missing(f"redis-server is not installed; {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="interlock-redis-") as folder:
        server = RedisServer(Path(folder), _free_port())
        try:
            if up:
                server.start()
            yield server
        finally:
            server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
