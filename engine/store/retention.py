"""Retention: whole months of finished history are removed, and what was removed stays in the account.

Invariant: rows go in the commit that sums them into `retired` and adds the event of it, and only where nothing of the
month, nor of any month before, is open. A message goes with everything that belongs to it: as long as a later month
holds a delivery or an attempt of it, or a message that repeats or replays it, all of it stays. Events stay for ever.

`retire` is the whole of it on either store; how rows go is in `retiring.py`, and in `postgres/retention.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast

from engine.durations import read_duration, show_duration
from engine.errors import Conflict
from engine.ids import time_of
from engine.model import show_id
from engine.ports import Clock
from engine.store.connection import Connection, Many
from engine.store.ledger import Ledger, Transaction, act
from engine.store.months import FIRST_YEAR, Month, month_of
from engine.store.moving import refuse_unfinished
from engine.store.operations import Act
from engine.store.standing import live_revisions
from engine.wiring import Channel

WRITER = 64
"""Whose chains of events retention writes to: no process ever has this number, for ids have six bits for theirs."""

OLDEST = "SELECT min(id) FROM message WHERE id >= ?"
COUNT = "SELECT count(*) FROM {0} WHERE id >= ? AND id < ?"
REVISION = "SELECT text FROM channel_revision WHERE channel = ? AND revision = ?"
#: What is open before an id: (what it is called, how many there are and the smallest id of their messages).
OPEN = (
    ("deliveries", "SELECT count(*), min(id) FROM delivery WHERE open > 0 AND id < ?"),
    ("held messages", "SELECT count(*), min(id) FROM message WHERE state = 'held' AND id < ?"),
    ("items", "SELECT count(*), min(message) FROM item WHERE closed_at IS NULL AND message < ?"),
)
#: Rows are (month, organization, channel, destination, state, count, sum of the numbers).
ADD_RETIRED = Many(
    "text text text text text bigint bigint",
    "INSERT INTO retired (month, organization, channel, destination, state, count, numbers) {rows}"
    " ON CONFLICT (month, organization, channel, destination, state)"
    " DO UPDATE SET count = retired.count + excluded.count, numbers = retired.numbers + excluded.numbers",
)
_DEFAULT_WINDOW = cast(int, next(f.default for f in fields(Channel) if f.name == "duplicates_within"))


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: everything before this month, by whom and why."""

    before: Month
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """What went of a month, or would go."""

    month: Month
    messages: int
    deliveries: int


class Faulty(Protocol):
    """The law of the balance, taken of a store."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What does not add up."""
        ...


class Place(Protocol):
    """A store that history is retired from."""

    connection: Connection

    def now(self) -> int:
        """The time by which the store's ids are made."""
        ...

    def account(self, take: Callable[[Connection], Faulty]) -> Faulty:
        """Take the balance of one committed state, while others write."""
        ...

    def remove(self, month: Month, order: Order) -> Retired:
        """Remove a month and what was left of those before it, in one commit or several."""
        ...


def retire(
    place: Place, order: Order, take: Callable[[Connection], Faulty], told: Callable[[Retired], None] = lambda _: None
) -> list[Retired]:
    """Remove every month before `order.before`, the oldest first; tells of each when it is gone.

    A command that was killed is given again: what it had removed is accounted for.

    Raises:
        Conflict: something of that time is open, too recent, or missing from the balance. Nothing was removed.
        StoreUnavailable, UnsafeStore: with what to do next. Months that were told of are gone.
    """
    asked = plan(place, order, take)
    done = []
    for month in (found.month for found in asked):
        gone = place.remove(month, order)
        if gone.messages:
            done.append(gone)
            told(gone)
    return done


def plan(place: Place, order: Order, take: Callable[[Connection], Faulty]) -> list[Retired]:
    """The months that would go, with how many rows they hold at the most; refuses as `retire` does."""
    with place.connection.told(), place.connection.snapshot():
        refuse_unfinished(place.connection)
        refuse(place.connection, order.before, place.now())
        found = list(_months(place.connection, order.before))
    faults = place.account(take).faults
    if faults:
        raise Conflict(
            f"retiring what is before {order.before}: the balance is open ({faults[0]})",
            code="balance_open",
            advice="See `interlock balance`: what is missing could not be told from what was removed.",
        )
    return found


def _months(connection: Connection, before: Month) -> Iterator[Retired]:
    """Every month with messages, and the last one, with which goes what those before it had to leave."""
    month = Month(FIRST_YEAR, 1)
    while (number := connection.execute(OLDEST, (month.first_id,)).fetchone()[0]) is not None:
        month = month_of(time_of(number))
        if month >= before.previous:
            break
        yield _counted(connection, month)
        month = month.following
    yield _counted(connection, before.previous)


def _counted(connection: Connection, month: Month) -> Retired:
    ids = (month.first_id, month.following.first_id)
    return Retired(month, *(connection.execute(COUNT.format(t), ids).fetchone()[0] for t in ("message", "delivery")))


# what is refused


def refuse(connection: Connection, before: Month, now: int) -> None:
    """Refuse to remove what is before a month, where any of it is still needed.

    Raises:
        Conflict: with counts, and with what to do.
    """
    newest = month_of(now).previous
    if before > newest:
        raise Conflict(
            f"retiring what is before {before}: the current month and the one before it always stay",
            code="month_recent",
            advice=f"Give --before {newest} or an earlier month.",
        )
    _refuse_windows(connection, before, now)
    refuse_open(connection, before)


def _refuse_windows(connection: Connection, before: Month, now: int) -> None:
    for channel, within in _windows(connection):
        stays = month_of(max(0, now - within))
        if before > stays:
            raise Conflict(
                f"retiring what is before {before}: channel {channel} recognises resends for {show_duration(within)}",
                code="month_in_window",
                advice=f"Give --before {stays} or an earlier month, or shorten `within` of its [duplicates].",
            )


def _windows(connection: Connection) -> Iterator[tuple[str, int]]:
    """By channel, for how long a resend is recognised, by the revision that was put to work last."""
    for channel, revision in sorted(live_revisions(connection).items()):
        row = connection.execute(REVISION, (channel, revision)).fetchone()
        yield channel, _window(row[0]) if row else _DEFAULT_WINDOW


def _window(text: str) -> int:
    try:
        within = tomllib.loads(text).get("duplicates", {}).get("within")
        return _DEFAULT_WINDOW if within is None else read_duration(within)
    except (ValueError, AttributeError):  # no revision that was checked is so
        return _DEFAULT_WINDOW


def refuse_open(connection: Connection, before: Month) -> None:
    """Refuse while anything that came before a month has not ended."""
    counts, oldest = [], []
    for what, query in OPEN:
        count, number = connection.execute(query, (before.first_id,)).fetchone()
        if count:
            counts.append(f"{count} {what}")
            oldest.append(number)
    if counts:
        month, first = month_of(time_of(min(oldest))), show_id(min(oldest))
        raise Conflict(
            f"retiring what is before {before}: open are {', '.join(counts)}, the oldest of {month}",
            code="month_open",
            advice="See `interlock deadletter list` (with --items), `interlock search --state queued --until"
            f" {before}-01` and `interlock trace {first}`; end or replay them. Or give --before {month}.",
        )


# what every removal does


class Beside(Ledger):
    """A ledger beside others of its kind: the ends of its chains are read inside each transaction."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        super().__init__(connection, clock, WRITER, 0, ((Act, act),))

    def recall(self) -> None:
        """Nothing is remembered between commits."""
        self.numbers, self.heads = {}, {}

    def begin(self, operations: Sequence[Any]) -> None:
        """Begin a transaction, and read what the last one of anybody left."""
        super().begin(operations)
        super().recall()

    def run(self, work: Callable[[Transaction], Retired]) -> Retired:
        """One commit with its events."""
        result = self.apply([Act(cast(Any, None), work)])[0]  # it has no future: nobody waits beside this thread
        if isinstance(result, BaseException):
            raise result
        return cast(Retired, result)


def account_for(
    t: Transaction, month: Month, order: Order, messages: Sequence[Any], deliveries: Sequence[Any]
) -> Retired:
    """Sum what is being removed into `retired`, with an event of each organization.

    Rows are (organization, channel, destination or '', state, count, sum of the numbers).
    """
    t.connection.write(ADD_RETIRED, [(str(month), *row) for row in (*messages, *deliveries)])
    for organization in sorted({row[0] for row in (*messages, *deliveries)}):
        counts = [sum(row[4] for row in rows if row[0] == organization) for rows in (messages, deliveries)]
        t.event(organization, "retired", 0, str(month), *counts, order.reason, order.actor, rare=False)
    return Retired(month, sum(row[4] for row in messages), sum(row[4] for row in deliveries))
