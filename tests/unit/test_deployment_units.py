"""The systemd units: what systemd itself says of them, and that the key reaches the engine and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from engine.settings import Settings
from tests.conftest import ROOT
from tests.unit.test_docs import called, commands

UNITS = [ROOT / "deploy" / "interlock.service", ROOT / "deploy" / "interlock@.service"]
ANALYZE = shutil.which("systemd-analyze")
PROGRAM = "/opt/interlock/bin/interlock"

#: tenths of systemd's exposure, of which 10.0 is a unit without any hardening
MOST_EXPOSURE = 20

each = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
with_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def directives(unit: Path) -> dict[str, list[str]]:
    """Every directive with its values, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def instance(unit: Path, folder: Path) -> Path:
    """The unit as systemd would start it: a template under the name of an instance."""
    copy = folder / unit.name.replace("@.", "@worker.")
    return shutil.copy(unit, copy)


def analyze(*words: str) -> str:
    """What systemd-analyze complains about."""
    ran = subprocess.run([str(ANALYZE), *words], capture_output=True, text=True, check=False)
    return ran.stderr if ran.returncode == 0 else ran.stdout + ran.stderr + f"exit status {ran.returncode}"


@with_systemd
@each
def test_systemd_finds_no_fault(unit: Path, tmp_path: Path) -> None:
    assert analyze("verify", "--man=no", str(instance(unit, tmp_path))) == ""


@with_systemd
@each
def test_systemd_finds_little_exposed(unit: Path, tmp_path: Path) -> None:
    threshold = f"--threshold={MOST_EXPOSURE}"
    assert analyze("security", "--offline=true", threshold, str(instance(unit, tmp_path))) == ""


@each
def test_what_must_not_be_lost_from_a_unit(unit: Path) -> None:
    found = directives(unit)
    for name, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "LimitCORE": "0",  # a core would hold patients' data
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "StateDirectoryMode": "0700",
        "User": "interlock",
    }.items():
        assert found[name] == [value], name
    assert found["StateDirectory"][0].startswith("interlock")
    assert int(found["TimeoutStopSec"][0]) > Settings().grace_seconds
    assert "INTERLOCK_KEY" not in "".join(found["Environment"])


def test_both_units_are_hardened_alike() -> None:
    one, role = (unit.read_text("utf-8").partition("# It writes to its state folder only")[2] for unit in UNITS)
    assert one == role != ""


@each
def test_the_command_line_can_be_called(unit: Path) -> None:
    known = commands()
    (line,) = directives(unit)["ExecStart"]
    words = shlex.split(re.sub(r"%i", "worker", line.partition(PROGRAM)[2].rstrip("'")))
    name, rest = called(words, known)
    context = known[name].make_context(name, rest)
    assert context.params["role"] == (None if unit == UNITS[0] else "worker")


@each
def test_the_key_reaches_the_engine_from_its_credential(unit: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "interlock"
    stand_in.write_text('#!/bin/sh\necho "$INTERLOCK_KEY" "$1" $$\n')
    stand_in.chmod(0o755)
    (tmp_path / "interlock.key").write_text("c2VjcmV0\n")
    (line,) = directives(unit)["ExecStart"]
    words = shlex.split(line.replace("$$", "$").replace(PROGRAM, str(stand_in)))  # `$$` is how systemd writes `$`
    environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(tmp_path)}
    ran = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    out, _ = ran.communicate(timeout=10)
    assert out.split() == ["c2VjcmV0", "serve", str(ran.pid)]  # it is the process that systemd signals
