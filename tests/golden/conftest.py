"""`pytest tests/golden --update-golden` writes the expected files anew: read the difference before you keep it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the expected files from what comes out now")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be written; never in a run of all tests."""
    return bool(request.config.getoption("--update-golden", default=False))
