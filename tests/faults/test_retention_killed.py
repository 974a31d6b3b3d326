"""Killed while it retires months, and given again: the balance closes at every moment, and in the end all is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.balance import Balance, balance
from tests import postgres, stores
from tests.conftest import ROOT
from tests.old_months import DELIVERIES, MAY, MESSAGES, MonthClock, add_partitions, months

CHILD = """
import sys
from engine.store import retiring
retiring.BATCH = 2
from engine.cli import main
main(["retire", "--before", "2024-05", "--json", *sys.argv[1:]])
"""
#: Of the commits: on SQLite four batches and an end each month, on PostgreSQL one transaction each month.
POINTS = {
    "sqlite": ["before:1", "after:1", "before:3", "after:4", "after:5", "before:8", "after:9", "after:10"],
    "postgres": ["before:1", "after:1", "before:2", "after:2"],
}
CASES = [(store, point) for store, points in POINTS.items() for point in points]


def child(folder: Path, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    armed = {"INTERLOCK_FAILPOINT": failpoint} if failpoint else {}
    where = ("--store", postgres.database().owner) if stores.CHOSEN == "postgres" else ("--data", str(folder))
    return subprocess.run(
        [sys.executable, "-c", CHILD, *where], env={**clean, "PYTHONPATH": str(ROOT), **armed},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def account(folder: Path) -> tuple[Balance, int]:
    """The balance, and how many messages of the months are there."""
    reader = stores.reading(folder)
    try:
        count = reader.connection.execute(f"SELECT count(*) FROM message WHERE id < {MAY.first_id}").fetchone()[0]
        return balance(reader.connection), int(count)
    finally:
        reader.close()


@pytest.mark.parametrize(("both_stores", "short"), CASES, indirect=["both_stores"])
def test_killed_and_given_again(
    tmp_path: Path, both_stores: str, short: str, record_property: Callable[[str, object], None]
) -> None:
    clock = MonthClock()
    if both_stores == "postgres":
        add_partitions()
    stores.run(tmp_path, lambda store: months(store, clock), clock)
    before, _ = account(tmp_path)
    run = child(tmp_path, f"act.commit.{short}")
    assert run.returncode == -signal.SIGKILL, f"{short} did not fire: {run.stderr}"
    killed, left = account(tmp_path)
    assert killed.faults == ()
    assert killed.channels[0].retired + left == 2 * MESSAGES
    assert (left == 2 * MESSAGES) is (short == "before:1")
    last = child(tmp_path)
    assert last.returncode == 0, last.stderr
    after, left = account(tmp_path)
    assert (after.faults, left) == ((), 0)
    assert after.channels[0].retired == 2 * MESSAGES
    assert after.destinations[0].retired == 2 * DELIVERIES
    assert (after.channels[0].received, after.channels[0].states) == (
        before.channels[0].received, before.channels[0].states
    )  # fmt: skip
    assert after.destinations[0].states == before.destinations[0].states
    record_property("figures", {"group": "Retiring months killed and given again", "kills": 1})
