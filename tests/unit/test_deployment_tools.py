"""What the image is built and asked with: the runtime part of the lock, and the health check."""

from __future__ import annotations

import importlib.metadata
import runpy
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.bench.process import free_port
from tests.conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
runtime_lock = runpy.run_path(str(ROOT / "deploy" / "runtime_lock.py"))
CHECK = ROOT / "deploy" / "healthcheck.py"


# the lock


def needed() -> set[str]:
    """What the installed distribution needs here, as its metadata and that of what it needs say."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in importlib.metadata.requires("interlock") or ()]
    waiting = [wanted for wanted in waiting if wanted.marker is None or wanted.marker.evaluate({"extra": ""})]
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name not in found:
            found.add(name)
            requires = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [wanted for wanted in requires if wanted.marker is None or wanted.marker.evaluate({"extra": ""})]
    return found


def test_all_that_is_needed_is_there_and_no_tool_of_the_tests() -> None:
    there = set(runtime_lock["entries"](runtime_lock["runtime"](LOCK, PROJECT)))
    assert needed() <= there
    assert not {"pytest", "mypy", "ruff", "hypothesis", "httpx", "packaging"} & there


def test_every_entry_is_the_locks_own_with_its_hashes() -> None:
    for block in runtime_lock["entries"](runtime_lock["runtime"](LOCK, PROJECT)).values():
        assert block in LOCK
        assert "--hash=sha256:" in block


def test_a_dependency_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(KeyError, match="no-such-thing"):
        runtime_lock["runtime"](LOCK, '[project]\ndependencies = ["no_such.thing>=1"]')


# the health check


@contextmanager
def server(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything with a status, and the paths it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_port, asked
        finally:
            listening.shutdown()
            thread.join()


def check(*words: str, **environment: str) -> int:
    """The exit status, where a proxy is set that nobody listens on."""
    proxy = {"http_proxy": f"http://127.0.0.1:{free_port()}"}
    return subprocess.run([sys.executable, CHECK, *words], env=proxy | environment, check=False).returncode


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1), (404, 1)])
def test_it_says_what_the_probe_answers(status: int, exit_status: int) -> None:
    with server(status) as (port, asked):
        assert check(INTERLOCK_HTTP=f"0.0.0.0:{port}") == exit_status
    assert asked == ["/healthz"]


def test_another_address_can_be_named() -> None:
    with server(200) as (port, asked):
        assert check(f"http://127.0.0.1:{port}/fhir/metadata") == 0
    assert asked == ["/fhir/metadata"]


def test_nobody_there_is_not_well() -> None:
    assert check(INTERLOCK_HTTP=f"127.0.0.1:{free_port()}") == 1
