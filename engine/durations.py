"""Durations and sizes as people write them ("30d", "500ms", "64MiB") and as the engine counts them.

A number without a unit is never guessed: a duration always names its unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

#: Microseconds of each unit, the largest first: `show_duration` takes the first that divides.
DURATION_UNITS: Mapping[str, int] = {
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}

#: Bytes of each unit: binary names in powers of 1024, decimal names in powers of 1000.
SIZE_UNITS: Mapping[str, int] = {
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "MB": 1_000_000,
    "KB": 1_000,
    "B": 1,
}


def read_duration(text: str) -> int:
    """Microseconds of "30d", "1.5s" or "250 ms".

    Raises:
        ValueError: when it is not a number with one of the units.
    """
    return _read(text, DURATION_UNITS, 'a duration is a number and one of w, d, h, m, s, ms, us, such as "10m"')


def show_duration(microseconds: int) -> str:
    """Write a duration with the largest unit that keeps it whole."""
    if not microseconds:
        return "0s"
    unit, size = next((u, n) for u, n in DURATION_UNITS.items() if u != "w" and microseconds % n == 0)
    return f"{microseconds // size}{unit}"


def read_size(text: str) -> int:
    """Bytes of "64MiB" or "512 KiB".

    Raises:
        ValueError: when it is not a number with one of the units.
    """
    return _read(text, SIZE_UNITS, 'a size is a number and one of B, KiB, MiB, GiB, such as "64MiB"')


def _read(text: str, units: Mapping[str, int], rule: str) -> int:
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text.strip()[len(number) :]
    if unit not in units or not number.strip().isascii() or not set(number.strip()) <= set("0123456789."):
        raise ValueError(rule)
    try:
        amount = Decimal(number.strip()) * units[unit]
    except InvalidOperation as error:
        raise ValueError(rule) from error
    if amount != int(amount):
        raise ValueError(f"{rule}; this one is not a whole number of the smallest unit")
    return int(amount)
