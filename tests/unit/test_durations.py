"""Durations and sizes: read as people write them, written so that they read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.durations import read_duration, read_size, show_duration


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("30d", 2_592_000_000_000),
        ("1w", 604_800_000_000),
        ("10m", 600_000_000),
        ("1.5s", 1_500_000),
        ("250 ms", 250_000),
        (" 7us ", 7),
        ("0s", 0),
    ],
)
def test_durations_are_read(text: str, microseconds: int) -> None:
    assert read_duration(text) == microseconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "1 month", "1M", "1e3s", "1_0s", "0.5us", "1.2.3s", "١s", "1h30m"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is a number"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("64MiB", 64 << 20), ("512 KiB", 512 << 10), ("10MB", 10_000_000), ("1B", 1)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64M", "1mb", "0.5B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is a number"):
        read_size(text)


@given(st.integers(min_value=0, max_value=10**18))
def test_what_is_shown_reads_back(amount: int) -> None:
    assert read_duration(show_duration(amount)) == amount


def test_the_largest_whole_unit_is_shown() -> None:
    assert [show_duration(n) for n in (0, 30 * 86_400_000_000, 90_000_000, 1_500)] == ["0s", "30d", "90s", "1500us"]
