"""A site with everything in it that a store can hold, made through the store, and every row of a store to compare."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from engine.model import DeliveryState, Finding, Outcome
from engine.store import acts, standing
from engine.store.moving.tables import TABLES, Table
from engine.store.sqlite import DATABASE, KEY_FILE
from tests import postgres, stores
from tests.conftest import ROOT
from tests.stores import StepClock, claim, deliver, doubt, held, keep, keep_one, kill, receipt, refused, settle

OTHER = "other"
"""A second organization, on a channel of its own."""
FINDING = Finding("unmapped", "OBX-3", subject="K", table="loinc")
#: What an earlier month had: a message and its delivery, numbered and summed.
ADD_RETIRED = "INSERT INTO retired VALUES ('2020-01', ?, 'old', ?, ?, 1, 1)"
ADD_COUNTER = "INSERT INTO counter (channel, destination, writer, last) VALUES ('old', ?, 0, 1)"
ADD_TOKEN = "INSERT INTO token (hash, prefix, created_at) VALUES (?, ?, ?)"


async def fill(store: Any, messages: int = 0) -> None:
    """Every state of messages and deliveries, items, merges, acts of persons, two organizations, and some more."""
    await store.know(OTHER)
    for number in range(messages):
        await deliver(store, await keep_one(store, f"more{number}", patient=f"M{number % 7}"))
    await _messages(store)
    await _deliveries(store)
    await _acts(store)
    await _merges(store)
    await _of_the_other(store)
    await _beside_messages(store)


async def _messages(store: Any) -> None:
    await keep(store, "1", destinations=("ehr", "pager"))
    await keep(store, "1", destinations=("ehr", "pager"))  # a duplicate without bytes of its own
    await keep(store, "1", text="other content")  # a control id used again: an item
    await keep(store, "strict", text="one")
    await keep(store, "strict", text="two", strict=True)  # refused, its namesake known
    await keep(store, "2", wanted=False)  # filtered
    await store.keep(refused(store, "3"))
    await store.keep(held(store, "4"))


async def _deliveries(store: Any) -> None:
    await deliver(store, await keep_one(store, "10", patient="P2"))
    await kill(store, await keep_one(store, "11", patient="P3"))
    await keep_one(store, "12", patient="P3")  # behind a dead one
    await doubt(store, await keep_one(store, "13", patient="P4"))
    store.put_aside(await keep_one(store, "14", patient="P5"), DeliveryState.HELD, "held_by_site", (FINDING,))
    again = await keep_one(store, "15", patient="P6")
    await settle(store, await claim(store, again), DeliveryState.QUEUED, Outcome("refused", None), "refused")
    await deliver(store, again)  # at the second attempt
    await claim(store, await keep_one(store, "16", patient="P7"), FINDING)  # claimed and never settled: a crash


async def _acts(store: Any) -> None:
    ended = await keep_one(store, "20", patient="P8")
    await store.act(partial(acts.end_delivery, number=ended.id, reason="sent by fax", actor="maria"))
    await store.act(
        partial(acts.resend_delivery, number=ended.id, new=store.ids.next(), reason="the fax was off", actor="maria")
    )
    dead = await keep_one(store, "21", patient="P9")
    await kill(store, dead)
    await store.act(partial(acts.replay_delivery, number=dead.id, reason="mended", actor="maria"))
    first = held(store, "22")
    await store.keep(first)
    await store.act(partial(acts.request_replay, number=first.id, reason="mended", actor="maria"))
    await store.keep(replace(receipt(store, "22", patient="P10"), original=first.id))
    last = held(store, "23")
    await store.keep(last)
    await store.act(partial(acts.end_message, number=last.id, reason="no use", actor="maria"))


async def _merges(store: Any) -> None:
    await keep(store, "30", patient="P11")
    await keep(store, "31", patient="P12", merged="P11")
    await keep(store, "32", patient="P12")
    await keep(store, "33", patient="P2", merged="P13")  # into a lane where all has ended


async def _of_the_other(store: Any) -> None:
    await keep(store, "1", organization=OTHER, channel="theirs")
    await deliver(store, await keep_one(store, "2", organization=OTHER, channel="theirs", patient="P2"))
    await claim(store, await keep_one(store, "3", organization=OTHER, channel="theirs", patient="P3"), FINDING)


async def _beside_messages(store: Any) -> None:
    for state in ("paused", "started"):
        change = partial(acts.set_channel_state, channel="lab", destination="pager", state=state, reason="works")
        await store.act(partial(change, actor="maria", organization=stores.SITE))
    await store.act(lambda t: standing.record_revision(t, replace(stores.channel(), revision="r1", text="x = 1")))
    await store.act(lambda t: standing.agreements(t, True, stores.SITE))
    for number in (1, 2):
        await store.act(lambda t, n=number: t.connection.execute(ADD_TOKEN, (bytes([n]) * 32, f"il_{n}", n)))
    for organization in (stores.SITE, OTHER):
        await store.act(partial(_retired, organization=organization))


def _retired(t: Any, organization: str) -> None:
    for destination, state in (("", "accepted"), ("ehr", "delivered")):
        name = destination and f"{destination}-{organization}"
        if destination or organization == stores.SITE:
            t.connection.execute(ADD_COUNTER, (name,))
            t.connection.execute(ADD_RETIRED, (organization, name, state))


def make_sqlite(folder: Path, messages: int = 0, clock: StepClock | None = None) -> None:
    """Such a site in a data folder, with its key file."""
    folder.mkdir(parents=True, exist_ok=True)
    on_sqlite(folder, lambda store: fill(store, messages), clock)


def on_sqlite(folder: Path, work: Callable[[Any], Awaitable[Any]], clock: StepClock | None = None) -> Any:
    """Open the embedded store of a folder, do the work, close it."""

    async def main() -> Any:
        async with stores.opened(folder, clock) as store:
            return await work(store)

    return asyncio.run(main())


def make_postgres(folder: Path, messages: int = 0, clock: StepClock | None = None) -> postgres.Database:
    """Such a site on PostgreSQL, its key file in the folder."""
    folder.mkdir(parents=True, exist_ok=True)

    async def main() -> None:
        async with postgres.opened(folder, clock or StepClock()) as store:
            await fill(store, messages)

    asyncio.run(main())
    return postgres.database()


CRASHES = """
import asyncio, os, signal, sys
from pathlib import Path
from engine.store.postgres.store import open_postgres
from tests import stores, whole_site

async def main(url, key_file, messages):
    store = await open_postgres(url, "", Path(key_file), "all", stores.StepClock())
    await store.know(stores.SITE)
    await whole_site.fill(store, int(messages))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


def crash_postgres(folder: Path, messages: int = 0) -> postgres.Database:
    """The same, left by a process that was killed and whose lease has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    at = postgres.database()
    at.empty()
    at.folder = folder
    words = (sys.executable, "-c", CRASHES, at.url, str(folder / KEY_FILE), str(messages))
    ended = subprocess.run(words, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    postgres.run(at.admin, "UPDATE interlock.process SET until = 0")
    return at


Rows = dict[str, list[tuple[Any, ...]]]


def sqlite_rows(folder: Path) -> Rows:
    """Every row of every table that is moved, in the order of their keys."""
    connection = sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)
    try:
        return {table.name: _sorted(connection.execute(_every(table, table.name))) for table in TABLES}
    finally:
        connection.close()


def postgres_rows(at: postgres.Database) -> Rows:
    """The same of PostgreSQL."""
    return {table.name: _sorted(at.rows(_every(table, "interlock." + table.name))) for table in TABLES}


def _every(table: Table, name: str) -> str:
    return f"SELECT {', '.join(table.columns)} FROM {name}"


def _sorted(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, rows), key=repr)
