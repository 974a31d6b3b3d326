"""What the store's statements run on: one connection, used by one thread, of either database.

Invariant: a statement is written once, with `?` for each value and `{rows}` for many rows at once; a connection renders
it for its database. What a database says when it cannot is raised as `StoreUnavailable` or `RowRefused`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Many:
    """A statement for many rows at once; `types` are PostgreSQL's names of its columns' types, in order.

    `{rows}` stands where the rows come in: after INSERT INTO a table, or as `FROM ({rows}) AS new`, whose columns are
    then new.column1, new.column2 and so on.
    """

    types: str
    text: str

    @property
    def columns(self) -> int:
        """How many values a row has."""
        return len(self.types.split())


class Rows(Protocol):
    """What a statement gave back."""

    @property
    def rowcount(self) -> int:
        """Rows changed, of a statement that changes rows."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows, each a sequence of values."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        ...


class Connection(Protocol):
    """A connection to the store's database."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        ...

    def write(self, many: Many, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement for all rows, in order; returns how many rows it changed."""
        ...

    def defer(self, many: Many, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows, now or later: before the next `execute`, and before the commit.

        Nobody learns how many rows it changed, and no other statement that is deferred may touch the same ones.
        """

    def ask(self, many: Many, rows: Sequence[Sequence[Any]]) -> Iterable[Any]:
        """Run a query for all rows; what it finds."""
        ...

    def begin(self) -> None:
        """Begin a transaction that writes."""

    def commit(self) -> None:
        """Make the transaction durable."""

    def roll_back(self) -> None:
        """Undo the transaction, when one is open. Never raises."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read inside is one committed state; writers go on meanwhile."""
        ...

    def told(self) -> AbstractContextManager[None]:
        """Inside, what the database says when it cannot is raised as `RowRefused` or `StoreUnavailable`."""
        ...

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
