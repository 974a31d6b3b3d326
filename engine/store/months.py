"""Months in UTC, as PostgreSQL's partitions have them and as history is retired by them.

Invariant: a month holds the ids from its own first one up to, and without, the first one of the next month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.ids import earliest
from engine.model import MICROSECONDS

FIRST_YEAR = 2020
"""Ids count from its beginning."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One month; `number` is 1 to 12."""

    year: int
    number: int

    @property
    def begins(self) -> int:
        """Its first moment: microseconds since 1970, UTC."""
        return int(datetime(self.year, self.number, 1, tzinfo=UTC).timestamp()) * MICROSECONDS

    @property
    def first_id(self) -> int:
        """The smallest id that something of this month can have."""
        return earliest(self.begins)

    @property
    def following(self) -> Month:
        """The next month."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month(self.year - (self.number == 1), (self.number - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


def month_of(at: int) -> Month:
    """The month of a moment in microseconds since 1970."""
    day = datetime.fromtimestamp(at // MICROSECONDS, UTC)
    return Month(day.year, day.month)


def read_month(text: str) -> Month:
    """Read what `str` wrote, e.g. 2026-05.

    Raises:
        ValueError: it is no month from 2020 on.
    """
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text) or int(text[:4]) < FIRST_YEAR:
        raise ValueError(f"a month is written as {FIRST_YEAR}-05, and none is before {FIRST_YEAR}")
    return Month(int(text[:4]), int(text[5:]))
