"""A child process is watched through what it prints, and ended politely; another program stands in for the engine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from engine.bench.served import Served
from engine.bench.subject import Interlock

READY = (
    "print('\\x1b[1mtoken\\x1b[0m ilk_" + "x" * 43 + "', flush=True); "
    "print('ready at http://127.0.0.1:8123', flush=True); "
)


class StandIn(Served):
    """Runs a few lines of Python where the engine would be."""

    code = ""

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", self.code, *words]


def stand_in(folder: Path, code: str) -> StandIn:
    served = StandIn(folder / "channels", folder / "data", folder / "log", {"INTERLOCK_LOG_LEVEL": "warning"})
    served.code = code
    return served


def test_address_and_token_are_what_it_printed(tmp_path: Path) -> None:
    served = stand_in(tmp_path, READY + "input_ = __import__('signal').pause()")
    served.start()
    try:
        assert served.pid > 0
        assert served.address == "http://127.0.0.1:8123"
        assert served.token == "ilk_" + "x" * 43
    finally:
        assert served.stop() == -signal.SIGTERM
    assert served.pid == 0
    assert served.stop() is None


def test_an_engine_that_ends_at_once_is_an_error_with_what_it_wrote(tmp_path: Path) -> None:
    served = stand_in(tmp_path, "raise SystemExit('channels/lab/channel.toml:3: a fault')")
    with pytest.raises(RuntimeError, match=r"channel\.toml:3: a fault"):
        served.start()


def test_only_its_own_settings_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLOCK_STORE", "postgresql://the-operators-own/store")
    monkeypatch.setenv("INTERLOCK_KEY", "a key")
    code = (
        "import os; print(*sorted(name for name in os.environ if name.startswith('INTERLOCK_'))); raise SystemExit(3)"
    )
    done = stand_in(tmp_path, code).ask("balance")
    assert (done.returncode, done.stdout) == (3, b"INTERLOCK_KEY INTERLOCK_LOG_LEVEL\n")


def test_the_bench_writes_a_channel_that_check_finds_sound() -> None:
    from engine.channels.checks import Known
    from engine.channels.site import read_site

    for to in ("fhir", "mllp"):
        with Interlock(to, connections=8) as subject:
            subject._write(2575, 8080)
            site = read_site(subject.engine.channels, Known(tables=frozenset({"bench-loinc"})))
            assert not site.faults
            channel = site.channels["bench"]
            assert channel.environment == "test"
            assert channel.maps[0].table == "bench-loinc"
            assert channel.destinations[0].connections == 8
            assert channel.source.patient_authority == "INTERLOCK-TEST"
            folder = subject.folder
        assert not folder.exists()


def test_what_the_balance_command_says_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from subprocess import CompletedProcess

    for status, output, expected in ((0, b"{}", False), (1, b"{}", True), (2, b"no such command", None)):
        with Interlock("mllp", connections=1) as subject:
            done = CompletedProcess([], status, output, output)
            monkeypatch.setattr(subject.engine, "ask", lambda *words, done=done: done)
            assert subject.verdict()["balance_open"] is expected
