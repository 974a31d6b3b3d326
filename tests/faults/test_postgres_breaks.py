"""The connection breaks at every statement of a commit, and at its end: what was said to be kept is, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.balance import balance
from engine.errors import StoreUnavailable
from engine.store import queries
from engine.store.postgres.connection import PostgresConnection
from tests import postgres, stores


class Breaking:
    """Cuts the writing connection before its n-th piece of work, or at the end of a commit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        wait, commit = PostgresConnection.wait, PostgresConnection.commit
        self.at_commit = ""

        def counted(connection: PostgresConnection, work: Any) -> Any:
            if not connection._read_only and self.left >= 0:
                self.left -= 1
                if self.left < 0 and connection._raw is not None:
                    connection._raw.terminate()
            return wait(connection, work)

        def ended(connection: PostgresConnection) -> None:
            how, self.at_commit = self.at_commit, ""
            if how == "kept":
                commit(connection)
            if how:
                connection._in_transaction = True
                connection.drop()
                raise StoreUnavailable("the connection broke at the end")
            commit(connection)

        monkeypatch.setattr(PostgresConnection, "wait", counted)
        monkeypatch.setattr(PostgresConnection, "commit", ended)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaking]:
    yield Breaking(monkeypatch)


async def outcome(work: Any) -> bool:
    """True when a piece of work was said to be done."""
    try:
        await work
    except StoreUnavailable:
        return False
    return True


def test_wherever_it_breaks_what_was_said_to_be_kept_is_kept(tmp_path: Path, breaking: Breaking) -> None:
    """A message and a command in one commit: each statement of it is the last one once."""

    async def story() -> None:
        async with postgres.opened(tmp_path) as store:
            broke = 0
            for number in range(40):
                breaking.left = number
                made = stores.receipt(store, f"C{number}")
                act = store.act(lambda t: t.event("site", "looked", 0, rare=False))
                kept, _ = await asyncio.gather(outcome(store.keep(made)), outcome(act))
                finished, breaking.left = breaking.left >= 0, -1
                broke += not kept
                there = await store.read(partial(queries.message, number=made.id))
                assert (there is not None) is kept, f"at statement {number}"
                assert (await store.read(balance)).faults == (), f"at statement {number}"
                if finished:
                    break
            assert finished and broke > 5

    asyncio.run(asyncio.wait_for(story(), 100))


@pytest.mark.parametrize("how", ["kept", "lost"])
def test_a_commit_whose_end_nobody_saw_is_found_out(tmp_path: Path, breaking: Breaking, how: str) -> None:
    async def story() -> None:
        async with postgres.opened(tmp_path) as store:
            await stores.keep(store, "first")
            breaking.at_commit = how
            assert await outcome(stores.keep(store, "second")) is (how == "kept")
            assert await outcome(stores.keep(store, "third"))
            assert (await store.read(balance)).faults == ()

    asyncio.run(asyncio.wait_for(story(), 60))
