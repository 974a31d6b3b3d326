"""Killed while it moves a site, at ten points, and asked for again: nothing twice, nothing missing, one place serves.

The child is the command itself with chunks of a few rows, so that a kill comes in the middle of tables.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.balance import balance
from engine.errors import UnsafeStore
from engine.store.moving import refuse_unfinished
from engine.store.moving.marks import MOVED_TO, fact, read_mark
from engine.store.moving.move import side_of
from engine.store.sqlite import KEY_FILE
from tests import postgres
from tests.whole_site import Rows, crash_postgres, make_sqlite, postgres_rows, sqlite_rows

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from engine.store.moving import copying
copying.ROWS = int(sys.argv[3])
from engine.cli import main
main(["migrate", "store", "--from", sys.argv[1], "--to", sys.argv[2], "--json"])
"""
ROWS = 9
MESSAGES = 60
#: Five passes each way: in the preparation, in the middle of tables, and at the end. Those up to 0 count from the last
#: commit of the move, which lets the target serve; the one before it tells the source that its site is gone.
TO_POSTGRES = ["before:2", "after:3", "before:17", "after:40", "after:-1"]
TO_SQLITE = ["after:4", "before:9", "after:23", "before:0", "after:0"]


def child(source: str, target: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    armed = {"INTERLOCK_FAILPOINT": failpoint} if failpoint else {}
    return subprocess.run(
        [sys.executable, "-c", CHILD, source, target, str(ROWS)], env={**clean, "PYTHONPATH": str(ROOT), **armed},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def commits_of(rows: Rows, *, to_sqlite: bool) -> int:
    """Commits of a whole move: who is gone is buried, and what a crash left claimed is put in doubt, with it or after
    it; the target is marked; the chunks; epochs on SQLite; the source and the target."""
    sizes = {name: len(found) for name, found in rows.items()}
    for name in ("event", "event_subject", *(["chain"] if to_sqlite else [])):
        sizes[name] += 2  # one delivery of each organization was claimed
    return 5 + sum(-(-size // ROWS) for size in sizes.values())


def served_by(*stores: str) -> list[str]:
    """Those that a start would not refuse."""
    found = []
    for store in stores:
        side = side_of(store)
        side.open(existing=True)
        try:
            refuse_unfinished(side.connection)
            found += [store] if side.organizations else []  # one that holds nothing yet is served as a new site
        except UnsafeStore as error:
            assert error.code in ("unfinished_move", "moved_away")
        finally:
            side.close()
    return found


def point_of(short: str, commits: int) -> str:
    """The point's whole name."""
    when, _, number = short.partition(":")
    return f"move.commit.{when}:{int(number) if int(number) > 0 else commits + int(number)}"


@pytest.mark.parametrize("short", TO_POSTGRES)
def test_killed_on_the_way_to_postgresql(
    tmp_path: Path, short: str, record_property: Callable[[str, object], None]
) -> None:
    a, at = tmp_path / "a", postgres.database()
    make_sqlite(a, MESSAGES)
    at.empty()
    at.folder = a
    commits = commits_of(sqlite_rows(a), to_sqlite=False)
    killed(f"sqlite:{a}", at.url, point_of(short, commits), [] if short == "after:-1" else [f"sqlite:{a}"])
    same(sqlite_rows(a), postgres_rows(at))
    record_property("figures", {"group": "Migration interrupted at ten points and resumed", "to PostgreSQL": 1})


@pytest.mark.parametrize("short", TO_SQLITE)
def test_killed_on_the_way_to_sqlite(
    tmp_path: Path, short: str, record_property: Callable[[str, object], None]
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    at = crash_postgres(a, MESSAGES)
    b.mkdir()
    shutil.copy(a / KEY_FILE, b / KEY_FILE)
    commits = commits_of(postgres_rows(at), to_sqlite=True)
    after = {"before:0": [], "after:0": [f"sqlite:{b}"]}
    killed(at.url, f"sqlite:{b}", point_of(short, commits), after.get(short, [at.url]))
    same(postgres_rows(at), sqlite_rows(b))
    record_property("figures", {"group": "Migration interrupted at ten points and resumed", "to SQLite": 1})


def killed(source: str, target: str, point: str, serves: list[str]) -> None:
    """Killed at the point, and again at the next commit of the resumed move; then it goes to its end."""
    first = child(source, target, point)
    assert first.returncode == -signal.SIGKILL, f"{point} did not fire: {first.stderr}"
    assert served_by(source, target) == serves
    assert child(source, target, "move.commit.after:2").returncode in (-signal.SIGKILL, 0)
    assert len(served_by(source, target)) <= 1
    last = child(source, target)
    assert last.returncode == 0, last.stderr
    assert served_by(source, target) == [target]
    accounts = []
    for store in (source, target):
        side = side_of(store)
        side.open(existing=True)
        try:
            account = balance(side.connection)
            assert account.faults == ()
            assert read_mark(side.connection) is None
            assert (fact(side.connection, MOVED_TO) is not None) is (store == source)
            accounts.append(account.as_dict())
        finally:
            side.close()
    assert accounts[0] == accounts[1]


def same(before: Rows, after: Rows) -> None:
    """Table by table; each organization's event of the move is there once."""
    for name in before:
        if name not in ("chain", "event"):
            assert before[name] == after[name], name
    new = [row for row in after["event"] if row not in set(before["event"])]
    assert set(before["event"]) <= set(after["event"])
    assert sorted(row[0] for row in new) == ["other", "site"]
    assert all(b'"moved"' in row[4] for row in new)
