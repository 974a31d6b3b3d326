"""What is read of a store is the same on both databases for the same site, and PostgreSQL finds it by its indexes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deadletter import queues
from engine import trace
from engine.balance import balance, quick_balance
from engine.clock import SystemClock
from engine.model import DeliveryState, MessageState
from engine.search import Search, plan, search
from engine.store import acts, backlog, counts, keyring, queries, sealing, sql, standing
from engine.store.connection import Connection, Many
from engine.store.keyring import Keyring, read_keys
from engine.store.moving.move import move
from engine.store.postgres import lanes, ledger
from engine.store.postgres.connection import PostgresConnection, _for_many, _rendered
from engine.store.sqlite import DATABASE, KEY_FILE
from engine.store.sqlite_connection import connect
from tests import postgres
from tests.stores import NOON, SITE, StepClock
from tests.whole_site import OTHER, make_sqlite

MOST = 1000
WALKED = ("message", "delivery", "attempt", "receipt_key", "payload")
"""Tables with rows of every message: no statement of the path may walk one."""

SMALL = ("_id_idx", "_epoch_idx")
"""The partitions' names of `delivery_in_doubt` and `delivery_claimed`, which hold nothing but such deliveries."""


class Keys:
    """The keys of a store: an `Opener`."""

    def __init__(self, known: Keyring) -> None:
        self._known = known

    def keys(self, organization: str) -> sealing.OrganizationKeys:
        return self._known[organization]

    def organizations(self) -> tuple[str, ...]:
        return tuple(sorted(self._known))


@dataclass
class Both:
    """One site on both databases."""

    sqlite: Connection
    postgres: Connection
    opener: Keys
    messages: list[int]
    deliveries: list[int]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder: Path = tmp_path_factory.mktemp("reading")
    make_sqlite(folder, 30, StepClock())
    at = postgres.database()
    at.empty()
    at.folder = folder
    move(f"sqlite:{folder}", at.url, "", SystemClock(), balance)
    here = connect(folder / DATABASE, read_only=True)
    there = PostgresConnection(at.url, lambda: (SITE, OTHER), read_only=True)
    opener = Keys(read_keys(here, sealing.master_key("", folder / KEY_FILE, may_create=False)))
    ids = [[row[0] for row in here.execute(f"SELECT id FROM {table} ORDER BY id")] for table in ("message", "delivery")]
    yield Both(here, there, opener, *ids)
    here.close()
    there.close()


Read = Callable[[Connection, Both], Any]
NOW = NOON + 3_600_000_000
TERMS: dict[str, dict[str, Any]] = {
    "everything": {},
    "since": {"since": NOON},
    "until": {"until": NOON + 400_000},
    "channel": {"channel": "lab"},
    "type": {"type": "ORU"},
    "whole type": {"type": "ORU^R01", "channel": "theirs"},
    "control id": {"control_id": "1"},
    "control id of a channel": {"control_id": "22", "channel": "lab"},
    "control id that is not there": {"control_id": "none"},
    "patient": {"patient": "P2"},
    "patient of a channel": {"patient": "P3", "channel": "lab"},
    **{f"state {state.value}": {"state": state.value} for state in (*MessageState, *DeliveryState)},
    "held of a channel": {"state": "held", "channel": "lab"},
    "limit": {"limit": 3},
    "all of it": {"channel": "lab", "type": "ORU", "control_id": "10", "patient": "P2", "state": "delivered"},
}
STANDS: dict[str, dict[str, Any]] = {
    "all": {},
    **{state: {"state": state} for state in ("held", "dead", "in doubt")},
    "channel": {"channel": "lab"},
    "reason": {"reason": "AE 207"},
    "limit": {"limit": 2},
}
LANES = [(channel, destination) for channel in ("lab", "theirs") for destination in ("ehr", "pager", "none")]


def pages(connection: Connection, both: Both) -> list[Any]:
    """A search page by page."""
    found, before = [], 0
    while True:
        page = search(connection, both.opener, Search(since=NOON, limit=7, before=before), NOW)
        found.append(page.as_dict())
        if not page.next:
            return found
        before = page.next


def of_each(numbers: Callable[[Both], list[int]], read: Callable[[Connection, int], Any]) -> Read:
    return lambda connection, both: [read(connection, number) for number in [*numbers(both), 7]]


def of_lanes(read: Callable[[Connection, str, str], list[Any]]) -> Read:
    """Reads that promise no order are put into one."""
    return lambda connection, both: [sorted(read(connection, *lane), key=repr) for lane in LANES]


def shown(connection: Connection, both: Both) -> list[Any]:
    found = queues.letters(connection, queues.Wanted(limit=MOST)).letters
    return [queues.show(connection, both.opener, letter.id).as_dict() for letter in found]


def whole_lanes(connection: Connection, both: Both) -> list[Any]:
    query = (
        "SELECT DISTINCT channel, destination, lane FROM delivery WHERE open > 0 ORDER BY channel, destination, lane"
    )
    found = [tuple(row) for row in connection.execute(query)]
    return [[backlog.open_of_lane(connection, *lane, after, 3) for after in (0, 5)] for lane in found]


def walked(connection: Connection, both: Both) -> list[Any]:
    """The sweeper's walk, a few at a time."""
    found: list[backlog.Sight] = []
    while more := backlog.look(connection, found[-1].cursor if found else backlog.BEGINNING, 4):
        found += more
    return found


def by_destination(connection: Connection, both: Both) -> list[Any]:
    return [backlog.open_of_destination(connection, *lane, (b"", 0), MOST) for lane in LANES]


READS: dict[str, Read] = {
    **{f"search {n}": lambda c, b, t=t: search(c, b.opener, Search(**t), NOW).as_dict() for n, t in TERMS.items()},
    "search pages": pages,
    **{f"letters {n}": lambda c, b, t=t: queues.letters(c, queues.Wanted(**t)).as_dict() for n, t in STANDS.items()},
    "letters shown": shown,
    "items": lambda c, b: queues.items(c, b.opener),
    "items of a code": lambda c, b: queues.items(c, b.opener, "lab", "unmapped"),
    "trace opened": lambda c, b: [
        trace.trace(c, b.opener, number).as_dict() for number in (*b.messages, *b.deliveries)
    ],
    "trace closed": lambda c, b: [trace.trace(c, None, number).as_dict() for number in b.messages],
    "message": of_each(lambda b: b.messages, queries.message),
    "successors": of_each(lambda b: b.messages, queries.successors),
    "delivery": of_each(lambda b: b.deliveries, queries.delivery),
    "deliveries": of_each(lambda b: b.messages, queries.deliveries),
    "attempts": of_each(lambda b: b.deliveries, queries.attempts),
    "events": of_each(lambda b: [*b.messages, *b.deliveries], queries.events),
    "sealed": of_each(lambda b: b.messages, queries.sealed),
    "backlog delivery": of_each(lambda b: b.deliveries, backlog.delivery),
    "delivery_of": of_each(lambda b: b.messages, lambda c, number: backlog.delivery_of(c, number, "ehr")),
    "open_of_lane": whole_lanes,
    "open_of_destination": by_destination,
    "open_destinations": lambda c, b: sorted(backlog.open_destinations(c, "lab")),
    "claimed_before": lambda c, b: backlog.claimed_before(c, MOST),
    "in_state": of_lanes(lambda c, *at: backlog.in_state(c, *at, DeliveryState.HELD, "held_by_site")),
    "flowing": of_lanes(lambda c, *at: backlog.flowing(c, *at, MOST)),
    "in_doubt": of_lanes(lambda c, *at: backlog.in_doubt(c, *at)),
    "heads": of_lanes(lambda c, *at: backlog.heads(c, *at, MOST)),
    "look": walked,
    "counts received": lambda c, b: counts.received(c),
    "counts messages": lambda c, b: counts.messages(c),
    "counts accepted": lambda c, b: counts.accepted(c),
    "counts deliveries": lambda c, b: counts.deliveries(c),
    "counts missing": lambda c, b: list(counts.missing(c)),
    "counts broken": lambda c, b: list(counts.broken_links(c)),
    "balance": lambda c, b: balance(c).as_dict(),
    "quick balance": lambda c, b: quick_balance(c).as_dict(),
    "channel states": lambda c, b: standing.channel_states(c),
    "agreements": lambda c, b: c.execute(standing.AGREEMENTS).fetchone() is not None,
}
NOTHING = {
    "search control id that is not there", "search until", "search state claimed", "claimed_before", "counts missing",
    "counts broken", "search all of it", "search limit", "search state refused",
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_the_same_on_both(both: Both, name: str) -> None:
    here = READS[name](both.sqlite, both)
    assert READS[name](both.postgres, both) == here


@pytest.mark.parametrize("name", [name for name in READS if name not in NOTHING])
def test_there_is_something_to_read(both: Both, name: str) -> None:
    found = READS[name](both.sqlite, both)
    found = found.get("messages", found.get("letters", found)) if isinstance(found, dict) else found
    assert found


# plans


def statements() -> Iterator[tuple[str, str]]:
    """Every named statement that asks or changes, as PostgreSQL is given it."""
    for module in (acts, backlog, keyring, queries, queues, sql, standing, lanes, ledger):
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue  # a part of others
            label = f"{module.__name__.rpartition('.')[2]}.{name}"
            if isinstance(value, Many) and name.isupper():
                yield label, _for_many((value,))
            elif isinstance(value, str) and name.isupper() and re.match("SELECT|UPDATE|DELETE|INSERT|WITH", value):
                yield label, _rendered(value.replace("{marks}", "?, ?"))


NAMED = dict(statements())


def values_for(parameters: Any) -> list[Any]:
    """A value of each parameter's type."""
    return [_value(one.name.removesuffix("[]"), one.name.endswith("[]")) for one in parameters]


def _value(kind: str, many: bool) -> Any:
    plain: Any = {"bytea": b"x", "bool": True}.get(kind, 1 if kind.startswith("int") else "x")
    return [plain] if many else plain


def explained(at: postgres.Database, statement: str, values: list[Any] | None = None) -> str:
    """The plan of a statement where walking a table is the last resort."""

    async def work() -> str:
        settings = {"search_path": "interlock", "enable_seqscan": "off", "app.organizations": f"{SITE},{OTHER}"}
        connection = await asyncpg.connect(at.url, timeout=5, server_settings=settings)
        try:
            given = values if values is not None else values_for((await connection.prepare(statement)).get_parameters())
            return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + statement, *given))
        finally:
            await connection.close()

    return asyncio.run(work())


def walks(text: str) -> list[str]:
    """The tables, or partitions of them, that a plan walks."""
    return [name for name in re.findall(r"Seq Scan on (\w+)", text) if name.startswith(WALKED)]


def unbounded(text: str) -> list[str]:
    """Indexes of those tables that a plan reads from end to end: a walk by another name."""
    found = []
    lines = text.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        scan = re.search(r"Index (?:Only )?Scan (?:Backward )?using (\w+) on (\w+)", line)
        if scan and scan[2].startswith(WALKED) and "Index Cond" not in after and not scan[1].endswith(SMALL):
            found.append(scan[1])
    return found


@pytest.mark.parametrize("name", NAMED)
def test_a_statement_of_the_path_walks_no_table(both: Both, name: str) -> None:
    text = explained(postgres.database(), NAMED[name])
    assert walks(text) + unbounded(text) == [], text


@pytest.mark.parametrize("name", TERMS)
def test_a_search_walks_no_table(both: Both, name: str) -> None:
    query, values = plan(both.opener, Search(**TERMS[name]), NOON, 101)
    text = explained(postgres.database(), _rendered(query), values)
    assert walks(text) + unbounded(text) == [], text


def test_a_walk_would_be_seen(both: Both) -> None:
    at = postgres.database()
    assert walks(explained(at, "SELECT count(*) FROM message WHERE reason = 'x'"))
    assert unbounded(explained(at, "SELECT id FROM message WHERE reason = 'x' ORDER BY id LIMIT 1"))


def test_the_statements_are_found() -> None:
    assert len(NAMED) > 50
