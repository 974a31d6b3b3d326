"""What every test may use: the shared corpus, both stores, and the rule "skip on a laptop, fail in CI"."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def missing(reason: str) -> None:
    """Skip on a laptop with the reason; fail in CI, where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the corpus and the anchors, named by INTERLOCK_SHARED."""
    folder = Path(os.environ.get("INTERLOCK_SHARED", ROOT.parent / "shared"))
    if not (folder / "corpus").is_dir():
        missing(f"the shared corpus is not at {folder}; set INTERLOCK_SHARED to read it")
    return folder


@pytest.fixture(params=["sqlite", "postgres"])
def both_stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once on each store: `stores.run`, `stores.reading` and `building.path` open the one of this run.

    A module asks for it with `pytestmark = pytest.mark.usefixtures("both_stores")`; a test in it that is about one of
    them is marked `stores.SQLITE_ONLY` or `stores.POSTGRES_ONLY` and says why.
    """
    from tests import postgres, stores

    if request.param == "postgres":
        postgres.database()  # skips or fails here when there is no server
    monkeypatch.setattr(stores, "CHOSEN", request.param)
    return str(request.param)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted with `record_property("figures", {"group": ..., name: number})`, summed."""
    sums: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "figures":
                counted = {key: number for key, number in value.items() if key != "group"}
                sums.setdefault(value["group"], Counter()).update({"cases": 1, **counted})
    if sums:
        terminalreporter.section("figures")
    for group, figures in sorted(sums.items()):
        terminalreporter.write_line(f"{group}: " + ", ".join(f"{name} {number}" for name, number in figures.items()))
