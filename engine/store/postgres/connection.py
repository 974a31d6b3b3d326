"""One connection to PostgreSQL, used by one thread at a time: asyncpg on a loop of the connection's own.

Invariant: every transaction names the organizations it is for, and row security shows it no others. What PostgreSQL
says when it cannot is raised in the engine's words; a connection that broke is made anew by the next transaction.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import asyncpg
import uvloop

from engine.errors import RowRefused, StoreUnavailable
from engine.store.connection import Many

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = {False: 3.0, True: 600.0}
"""What takes longer is given up. Senders wait for what is written and are answered negatively then; a read of a whole
site may take minutes. By whether the connection only reads."""
SILENT = "5s"
"""A process that stops in the middle of a transaction holds its locks no longer than that."""
STATEMENTS = 500
"""Prepared statements kept by the connection."""
SCHEMA = "interlock"
PLANS = {False: "force_generic_plan", True: "force_custom_plan"}
"""What is written finds its rows by key whatever the values, and planning it anew took longer than running it; what
is read looks for ranges and terms, by which the ways in differ. By whether the connection only reads."""
NAME_ORGANIZATIONS = "SELECT set_config('app.organizations', ?, true)"

REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.UntranslatableCharacterError,
)
LOST = (OSError, asyncio.TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError,
        asyncpg.OperatorInterventionError, asyncpg.exceptions.InternalClientError)  # fmt: skip
AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.exceptions.LockNotAvailableError)


class PostgresUnavailable(StoreUnavailable):
    """PostgreSQL could not make anything durable, or did not answer."""

    advice = (
        "The sender must send again. See that PostgreSQL runs, can be reached from here and has room on its disk: its"
        " own log says what is wrong with it, /readyz when it is back."
    )


class NotThere(PostgresUnavailable):
    """PostgreSQL cannot be reached, starts or ends, or the connection broke: later it may be there."""


class TryAgain(PostgresUnavailable):
    """Two transactions were in each other's way: this one was undone and may be run again at once."""


class Found:
    """What a statement gave back."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], status: str) -> None:
        self._rows = iter(rows)
        word = status.rpartition(" ")[2]
        self.rowcount = int(word) if word.isdigit() else -1

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        """The next row, or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self._rows)


class PostgresConnection:
    """A `Connection`. `organizations` says for whom a transaction is when nobody said otherwise."""

    def __init__(self, url: str, organizations: Callable[[], Iterable[str]], *, read_only: bool = False) -> None:
        self._url = url
        self.organizations = organizations
        self._read_only = read_only
        self._loop = uvloop.new_event_loop()
        self._raw: asyncpg.Connection | None = None
        self._statements: dict[str, Any] = {}
        self._in_transaction = False
        self._deferred: dict[Many, list[Sequence[Any]]] = {}

    # statements

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Found:
        """Run one statement; outside a transaction it is one of its own."""
        if not self._in_transaction:
            with self.transaction():
                return self._run(_rendered(statement), values)
        self._send_deferred()
        return self._run(_rendered(statement), values)

    def write(self, many: Many, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement for all rows; returns how many rows it changed."""
        return self._run(_for_many((many,)), _columns(rows)).rowcount if rows else 0

    def defer(self, many: Many, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows later, in one round trip with all others that wait."""
        if rows:
            self._deferred.setdefault(many, []).extend(rows)

    def _send_deferred(self) -> None:
        deferred, self._deferred = self._deferred, {}
        if deferred:
            self._run(_for_many(tuple(deferred)), [column for rows in deferred.values() for column in _columns(rows)])

    def ask(self, many: Many, rows: Sequence[Sequence[Any]]) -> Iterable[Any]:
        """Run a query for all rows; what it finds."""
        return self._run(_for_many((many,)), _columns(rows)) if rows else ()

    def _run(self, statement: str, values: Sequence[Any]) -> Found:
        found: Found = self.wait(self._fetch(statement, values))
        return found

    async def _fetch(self, statement: str, values: Sequence[Any]) -> Found:
        prepared = self._statements.get(statement)
        if prepared is None:
            if self._raw is None:
                raise NotThere("asking PostgreSQL: the connection was lost")
            prepared = await self._raw.prepare(statement)
            if len(self._statements) >= STATEMENTS:
                self._statements.clear()
            self._statements[statement] = prepared
        rows = await prepared.fetch(*values)
        return Found(rows, prepared.get_statusmsg())

    # transactions

    def begin(self) -> None:
        """Begin a transaction for the organizations that this connection is for."""
        self.begin_for(self.organizations())

    def begin_for(self, organizations: Iterable[str]) -> None:
        """Begin a transaction; it sees and writes rows of these organizations only."""
        self.begin_with(NAME_ORGANIZATIONS, (",".join(organizations),))

    def begin_with(self, statement: str, values: Sequence[Any]) -> Found:
        """Begin a transaction with a statement that names its organizations; what that one found."""
        self.connect()
        mode = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if self._read_only else "BEGIN"
        self._in_transaction = True
        try:
            self._command(mode)
            return self._run(_rendered(statement), values)
        except BaseException:
            self.roll_back()
            raise

    def commit(self) -> None:
        """Make the transaction durable."""
        self._send_deferred()
        self._command("COMMIT")
        self._in_transaction = False

    def roll_back(self) -> None:
        """Undo the transaction, when one is open; a connection that cannot say so is given up."""
        self._deferred = {}
        if self._in_transaction:
            if self._raw is not None:
                try:
                    self._command("ROLLBACK")
                except StoreUnavailable:
                    self.drop()
            self._in_transaction = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done inside is committed together; inside another transaction it is part of that one."""
        if self._in_transaction:
            yield
            return
        self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    snapshot = transaction
    """A reading connection's transactions see one committed state from beginning to end."""

    @contextmanager
    def told(self) -> Iterator[None]:
        """Every statement speaks the engine's words already."""
        yield

    def script(self, text: str) -> None:
        """Run several statements without values, as a migration is written."""
        self.connect()
        self._command(text)

    def _command(self, text: str) -> None:
        if self._raw is None:
            raise NotThere("asking PostgreSQL: the connection was lost")
        self.wait(self._raw.execute(text))

    # the connection

    def connect(self) -> None:
        """Connect, when the connection is not up.

        Raises:
            StoreUnavailable: PostgreSQL does not answer.
        """
        if self._raw is not None and not self._raw.is_closed():
            return
        self.drop()
        settings = {"search_path": SCHEMA, "timezone": "UTC", "application_name": "interlock", "jit": "off"}
        settings["plan_cache_mode"] = PLANS[self._read_only]
        if not self._read_only:
            settings["idle_in_transaction_session_timeout"] = SILENT
        connecting = asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS[self._read_only],
            server_settings=settings,
            statement_cache_size=0,
        )
        self._raw = self.wait(connecting)

    @property
    def connected(self) -> bool:
        """True while the connection has not been seen to break."""
        return self._raw is not None and not self._raw.is_closed()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a piece of work on the connection's loop; what goes wrong is said in the engine's words."""
        try:
            return self._loop.run_until_complete(work)
        except REFUSED as error:
            raise RowRefused(f"keeping one operation: {type(error).__name__}") from error
        except AGAIN as error:
            raise TryAgain(f"committing: {type(error).__name__}") from error
        except LOST as error:
            self.drop()
            raise NotThere(f"asking PostgreSQL: {type(error).__name__}") from error
        except asyncpg.PostgresError as error:
            raise PostgresUnavailable(f"asking PostgreSQL: {type(error).__name__}") from error

    def drop(self) -> None:
        """Give the connection up; what it was doing is undone by the database.

        A transaction that was open stays so until it is rolled back here, too: nothing more of it may run elsewhere.
        """
        raw, self._raw = self._raw, None
        self._statements.clear()
        if raw is not None:
            with suppress(Exception):
                raw.terminate()

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        raw, self._raw = self._raw, None
        self._statements.clear()
        if raw is not None:
            with suppress(Exception):
                self._loop.run_until_complete(raw.close(timeout=1.0))
        if not self._loop.is_closed():
            self._loop.close()


_HINT = re.compile(r" NOT INDEXED| INDEXED BY \w+")
"""How SQLite is told the way in; PostgreSQL has statistics."""


@cache
def _rendered(statement: str) -> str:
    """`?` becomes $1, $2 and so on: no statement of ours has a question mark in a text."""
    parts = _HINT.sub("", statement).split("?")
    numbered = [part + f"${number}" for number, part in enumerate(parts[:-1], 1)]
    return "".join(numbered) + parts[-1]


def _columns(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True))


@cache
def _for_many(several: tuple[Many, ...]) -> str:
    """Statements for many rows as one; the rows of each come as one array a column.

    PostgreSQL runs them on what stood before the first of them: https://www.postgresql.org/docs/15/queries-with.html,
    7.8.4.
    """
    texts, taken = [], 0
    for many in several:
        texts.append(many.text.format(rows=_unnested(many.types.split(), taken)))
        taken += many.columns
    before = ", ".join(f"part{number} AS ({text})" for number, text in enumerate(texts[:-1], 1))
    return f"WITH {before} {texts[-1]}" if before else texts[-1]


def _unnested(types: Sequence[str], taken: int) -> str:
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, taken + 1))
    columns = ", ".join(f"column{number}" for number in range(1, len(types) + 1))
    return f"SELECT * FROM unnest({arrays}) AS given({columns})"
