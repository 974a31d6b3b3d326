"""A whole site moved: both stores held, every table copied, both accounts compared, then handed over.

Invariant: the source is told that its site is gone before the target may serve it, and not before both add up to the
same. Until then the source is as it was, and whoever gives the move up serves it as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from engine.errors import Configuration, Conflict, UnsafeStore
from engine.ports import Clock
from engine.store import sealing, sql
from engine.store.connection import Connection
from engine.store.keyring import read_keys
from engine.store.ledger import Transaction
from engine.store.moving.copying import copy
from engine.store.moving.marks import (
    FORGET,
    MOVED_FROM,
    MOVED_TO,
    MOVING,
    OF_THE_PLACE,
    Mark,
    fact,
    read_mark,
    refuse_unfinished,
)
from engine.store.moving.sides import Side, SqliteSide
from engine.store.sqlite import DATABASE, KEY_FILE

SITE_FACTS = "SELECT name, value FROM site"
Progress = Callable[[str, int, int], None]
"""Told (table, rows done, rows in all) as the copy goes on."""


class Account(Protocol):
    """The law of the balance, taken of one store."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What does not add up."""
        ...

    def as_dict(self) -> dict[str, object]:
        """All of it."""
        ...


TakeAccount = Callable[[Connection], Account]


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved: rows by table. `before` is True when an earlier run had finished it."""

    source: str
    target: str
    rows: Mapping[str, int]
    before: bool = False


def side_of(text: str) -> Side:
    """The store that a URL names: sqlite:FOLDER or postgresql://...

    Raises:
        Configuration: (code `usage`) it names none.
    """
    if text.startswith("sqlite:") and text != "sqlite:":
        path = Path(text.removeprefix("sqlite:")).expanduser()
        return SqliteSide(path.parent if path.name == DATABASE else path)
    if text.startswith(("postgresql://", "postgres://")) and _has_a_port(text):
        from engine.store.moving.shared import PostgresSide

        return PostgresSide(text)
    raise Configuration(
        "reading the store's URL: it names no store", code="usage", advice="Write sqlite:FOLDER or postgresql://..."
    )


def _has_a_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def move(
    origin: str, goal: str, key: str, clock: Clock, account: TakeAccount, progress: Progress = lambda *_: None
) -> Moved:
    """Move a site; `key` is INTERLOCK_KEY, or empty for the key file of the data folder.

    A move that was killed goes on when the same one is asked for again.

    Raises:
        Configuration: the two are not one data folder and one PostgreSQL.
        Conflict: somebody works on either, the target is not empty, or the two do not add up to the same.
        UnsafeStore, NotFound, StoreUnavailable: with what to do next.
    """
    source, target = side_of(origin), side_of(goal)
    if source.kind == target.kind:
        raise Configuration(
            f"moving from {source.name} to {target.name}: both are {source.kind}",
            code="usage",
            advice="Use `interlock backup` and `interlock restore` for folders, PostgreSQL's own means for databases.",
        )
    folder = next(side.folder for side in (source, target) if isinstance(side, SqliteSide))
    with ExitStack() as ends:
        ends.callback(source.close)
        source.open(existing=True)
        master = sealing.master_key(key, folder / KEY_FILE, may_create=False)
        read_keys(source.connection, master)
        ends.callback(target.close)
        target.open(existing=False)
        for side in (source, target):
            side.hold(clock)
        return _move(source, target, master, clock, account, progress)


def _move(
    source: Side, target: Side, master: bytes, clock: Clock, account: TakeAccount, progress: Progress
) -> Moved:  # fmt: skip
    handed_over = fact(source.connection, MOVED_TO) is not None
    if not handed_over:
        refuse_unfinished(source.connection)
        source.doubt_claimed(clock)
    fingerprint = source.fingerprint()
    mark = read_mark(target.connection)
    if mark is None and handed_over and fact(target.connection, MOVED_FROM) == fingerprint:
        return Moved(source.name, target.name, source.counts(), before=True)
    if mark is None:
        refuse_unfinished(source.connection)
        mark = _begin(source, target, fingerprint, account)
    elif mark.source != fingerprint:
        raise _other_move(target)
    target.organizations = source.organizations
    _copy(source, target, mark, progress)
    _compare(source, target, master, account)
    _hand_over(source, target, clock, fingerprint)
    return Moved(source.name, target.name, source.counts())


def _begin(source: Side, target: Side, fingerprint: str, account: TakeAccount) -> Mark:
    """The first commit: from here on the target refuses to serve."""
    if any(target.counts().values()) or target.organizations:
        raise Conflict(
            f"moving to {target.name}: it is not empty",
            code="target_not_empty",
            advice="Name a folder without a store, or a database with nothing but the schema.",
        )
    faults = account(source.connection).faults
    if faults:
        raise Conflict(
            f"moving from {source.name}: its balance is open ({faults[0]})",
            code="balance_open",
            advice="See `interlock balance`, and restore a backup or ask the senders first: what is missing stays so.",
        )
    mark = Mark(fingerprint)
    facts = [row for row in source.connection.execute(SITE_FACTS) if row[0] not in OF_THE_PLACE]
    with target.writing():
        target.connection.execute(FORGET, (MOVED_FROM,))
        target.welcome(source.organizations)
        for name, value in facts:
            target.connection.execute(sql.SET_SITE, (name, value))
        mark.write(target.connection)
    return mark


def _other_move(target: Side) -> UnsafeStore:
    return UnsafeStore(
        f"moving to {target.name}: it holds a part of another store, or the source has worked on since",
        code="unfinished_move",
        advice="Empty it and begin anew: name a folder without a store, or a new database with the schema.",
    )


def _copy(source: Side, target: Side, mark: Mark, progress: Progress) -> None:
    done, of = sum(target.counts().values()), sum(source.counts().values())

    def told(table: str, rows: int) -> None:
        nonlocal done
        done += rows
        progress(table, done, of)

    copy(source, target, mark, told)


def _compare(source: Side, target: Side, master: bytes, account: TakeAccount) -> None:
    """Both sides add up to the same, chains of events included, and the key opens the target."""
    read_keys(target.connection, master)
    here, there = account(source.connection), account(target.connection)
    unequal = [name for name, rows in source.counts().items() if target.counts()[name] != rows]
    if source.heads() != target.heads():
        unequal.append("the chains of events")
    if here.as_dict() != there.as_dict():
        unequal.append("the balance")
    if unequal or here.faults or there.faults:
        what = ", ".join((*unequal, *here.faults, *there.faults))
        raise Conflict(
            f"moving to {target.name}: the two do not add up to the same: {what}",
            code="move_differs",
            advice="The source is as it was: serve it. Empty the target before you try again.",
        )


def _hand_over(source: Side, target: Side, clock: Clock, fingerprint: str) -> None:
    """The source first: a kill in between leaves a site that nobody serves, never one that two do."""
    target.go_on_above(source.epoch())
    for side in (source, target):
        side.still_held()
    if fact(source.connection, MOVED_TO) is None:
        with source.writing():
            source.connection.execute(sql.SET_SITE, (MOVED_TO, target.name))

    def arrive(t: Transaction) -> None:
        t.connection.execute(FORGET, (MOVING,))
        t.connection.execute(sql.SET_SITE, (MOVED_FROM, fingerprint))
        for organization in target.organizations:
            t.event(organization, "moved", 0, source.kind, target.kind, rare=False)

    target.act(clock, arrive)
