"""Every commit, socket write, fsync and rename has a point before and after it, and the engine is killed at each.

The first half reads the source, so that nothing new goes without its points. The second runs a whole engine under load
until the point fires, starts it again, and lets the ledger oracle judge. Other modules kill the points that traffic
does not pass; together they must name them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engine.errors import InterlockError
from engine.store.operations import COMMIT_POINTS
from engine.store.postgres.store import STEPS_OF_SEVERAL

from . import source_points, test_points_backup, test_points_folders
from .engine_child import channel_toml, destination_toml
from .laboratory import HttpLaboratory
from .ledger import Oracle, Way
from .sites import KILLED, Site, drained, site

Record = Callable[[str, object], None]

#: The point, and the pass at which it kills: some traffic has gone before.
ON_THE_PATH = {
    "keep.commit.before": 12, "keep.commit.after": 12,
    "claim.commit.before": 12, "claim.commit.after": 12,
    "settle.commit.before": 12, "settle.commit.after": 12,
    "put_aside.commit.before": 4, "put_aside.commit.after": 4,
    "mllp.answer.half": 40, "mllp.answer.before": 40, "mllp.answer.after": 40,
    "mllp.send.half": 30, "mllp.send.before": 30, "mllp.send.after": 30,
    "deliver.before": 50, "deliver.after": 50,
    "http_client.request.half": 25, "http_client.request.before": 25, "http_client.request.after": 25,
}  # fmt: skip
#: On the first start of an empty folder: the token's file, then the key's, the schema, the epoch, the first acts.
ON_THE_FIRST_START = {
    "secret.sync.before": (1, 2, 3, 4), "secret.sync.after": (1, 2, 3, 4),
    "secret.link.before": (1, 2), "secret.link.after": (1, 2),
    "migrate.commit.before": (1, 2), "migrate.commit.after": (1, 2),
    "epoch.commit.before": (1,), "epoch.commit.after": (1,),
    "act.commit.before": (1, 2, 3), "act.commit.after": (1, 2, 3),
}  # fmt: skip
#: On the start after a crash that left claims, which `recover` puts in doubt.
ON_RECOVERY = ("epoch.commit.before", "epoch.commit.after", "act.commit.before", "act.commit.after")
UNDER_COMMANDS = ("act.commit.before", "act.commit.after")
ON_STOP = ("close.checkpoint.before", "close.checkpoint.after")
OVER_HTTP = ("http_server.answer.before", "http_server.answer.after")

NOT_THE_PATH = {
    "bench/": "the benchmark's own load and receivers: other processes than the engine",
    "demo/": "the demonstration's own laboratory and receivers",
    "cli/": "a command's output, and its own sending client: no server's message depends on it",
    "rehearsal/cases.py": "writes a channel's cases for its author",
    "broker/": "a doorbell: any ring may be lost",
    "conversions/": "between the engine and its converting children: a claim comes after it",
    "store/ledger.py Ledger.commit": "called by Transaction._end, where the points stand",
    "store/moving/": "on the way to another store: each commit has points, and a test kills at ten of them",
    "store/postgres/": "statements of commits whose points stand in store/ledger.py, and joining, which a kill undoes",
    "web/bounds.py": "refuses a request of the HTTP API; no message goes this way",
    "control.py": "the control socket: what a command changes is an act, whose commit has points",
    "transform.py transform": "a message's own method: bytes in memory",
    "web/access.py _protected": "hands an answer of the HTTP API to its server; no message goes this way",
    "web/app.py Unforeseen": "hands an answer of the HTTP API to its server; no message goes this way",
    "connectors/http_client.py Client.exchange": "calls Link.send, where the bytes leave",
    "connectors/http_link.py Link.send send_now": "only when armed: the first half before a point",
    "connectors/mllp_connection.py Connection._answer send_now": "only when armed: the first half before a point",
    "connectors/mllp_link.py Link.send send_now": "only when armed: the first half before a point",
    "connectors/mllp_destination.py MllpDestination._exchange": "calls Link.send, where the bytes leave",
    "connectors/sockets.py send_now": "the halves above",
    "secret_files.py _make stream.write": "a buffer of a file that has no name yet; its fsync has points",
    "store/dictionary.py main": "a tool at a developer's desk: it trains what is shipped",
    "store/backup.py _write": "a file in a folder that has no name yet; its fsync has points",
}


def exemption(act: source_points.Act) -> str:
    place = f"{act.file} {act.function} {act.what}"
    return next((known for known in NOT_THE_PATH if place.startswith(known)), "")


def test_every_act_has_a_point_before_and_after() -> None:
    bare = [act for act in source_points.acts() if not act.guarded and not exemption(act)]
    assert bare == []


def test_the_walk_sees_what_it_is_for(record_property: Record) -> None:
    acts = source_points.acts()
    guarded = [act for act in acts if act.guarded]
    assert {exemption(act) for act in acts if not act.guarded} == set(NOT_THE_PATH), "an exemption nobody needs"
    assert {act.before for act in guarded} >= {"batch.before", "migrate.commit.before", "mllp.answer.before"}
    for line in (
        "os.fsync(handle)",
        "transport.write(frame)",
        'connection.execute("DELETE FROM x")',
        "os.rename(a, b)",
    ):
        (bare,) = source_points.acts_in(f"def f():\n    {line}\n", "new.py")
        assert not bare.guarded
        wrong = f'def f():\n    failpoint("x.before")\n    {line}\n    {line}\n    failpoint("x.after")\n'
        assert not any(act.guarded for act in source_points.acts_in(wrong, "new.py"))
        text = f'def f():\n    failpoint("x.before")\n    {line}\n    failpoint("x.after")\n'
        assert all(act.guarded for act in source_points.acts_in(text, "new.py"))
    record_property("figures", {"group": "source", "acts with points": len(guarded), "points": len(set(names()))})


def names() -> list[str]:
    return source_points.names()


def test_names_are_unique_and_each_kind_of_operation_has_its_own() -> None:
    """A move has its points once on each side; there a count says which commit it is."""
    once = [name for name in names() if not name.startswith("move.commit.")]
    assert sorted(once) == sorted(set(once))
    assert set(COMMIT_POINTS) == {kind for kind, _ in STEPS_OF_SEVERAL}


def test_every_point_is_killed_somewhere() -> None:
    here = {*ON_THE_PATH, *ON_THE_FIRST_START, *ON_RECOVERY, *UNDER_COMMANDS, *ON_STOP, *OVER_HTTP}
    elsewhere = {*test_points_backup.POINTS, *test_points_folders.POINTS}
    on_postgres = {  # test_moving_killed, test_postgres_safety; a lane is released in test_several, killed at random
        f"{name}.commit.{when}" for name in ("move", "schema", "release") for when in ("before", "after")
    }
    assert here | elsewhere | on_postgres == set(names())


def run(scenario: Any, record: Record, group: str = "kills") -> None:
    figures = asyncio.run(scenario)
    record("figures", {"group": group, **figures.as_dict()})


@pytest.mark.parametrize("point", ON_THE_PATH)
def test_killed_under_load(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start(f"{point}:{ON_THE_PATH[point]}")
            made.open_laboratories()
            await made.killed(point)
            assert await made.engine.start()
            await made.settle()
            return await made.account()

    run(scenario(), record_property)


FIRST = [f"{point}:{number}" for point, numbers in ON_THE_FIRST_START.items() for number in numbers]


@pytest.mark.parametrize("point", FIRST)
def test_killed_on_the_first_start(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert not await made.engine.start(point), f"{point} was not passed before the engine was ready"
            await made.killed(point)
            assert await made.engine.start()
            made.open_laboratories()
            await made.settle(10)
            return await made.account()

    run(scenario(), record_property)


@pytest.mark.parametrize("point", ON_RECOVERY)
def test_killed_on_the_start_that_recovers(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start("deliver.after:30")
            made.open_laboratories()
            await made.killed("deliver.after")
            assert not await made.engine.start(f"{point}:1")
            await made.killed(point)
            assert await made.engine.start()
            await made.settle()
            figures = await made.account()
            assert figures.in_doubt > 0
            return figures

    run(scenario(), record_property)


@pytest.mark.parametrize("point", UNDER_COMMANDS)
def test_killed_by_a_command_under_load(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start(f"{point}:14")
            made.open_laboratories()
            await made.laboratories[0].acknowledged(50)
            stirring = asyncio.create_task(_stir(made))
            await made.killed(point)
            await stirring
            assert await made.engine.start()
            await made.engine.call("channel", channel="relay", destination="ehr", state="started", reason="mended")
            await made.settle()
            return await made.account()

    run(scenario(), record_property)


async def _stir(made: Site) -> None:
    """Pause and start a destination until the engine dies."""
    with suppress(InterlockError):
        while True:
            for state in ("paused", "started"):
                await made.engine.call("channel", channel="relay", destination="ehr", state=state, reason="a test")


@pytest.mark.parametrize("point", ON_STOP)
def test_killed_while_stopping(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            assert await made.engine.start(f"{point}:1")
            made.open_laboratories()
            await made.laboratories[0].acknowledged(50)
            assert await made.engine.stop() == KILLED
            made.figures.kills += 1
            assert await made.engine.start()
            await made.settle()
            return await made.account()

    run(scenario(), record_property)


@pytest.mark.parametrize("point", OVER_HTTP)
def test_killed_while_answering_over_http(tmp_path: Path, point: str, record_property: Record) -> None:
    async def scenario() -> Any:
        async with site(tmp_path) as made:
            destination = destination_toml("ehr", f"mllp://127.0.0.1:{made.mllp.port}")
            text = channel_toml("posted", destination, listen="http://127.0.0.1:0/lab")
            made.engine.write_channel("posted", text)
            assert await made.engine.start(f"{point}:40")
            laboratory = HttpLaboratory("H", made.engine.where["posted"])
            sending = asyncio.create_task(laboratory.run())
            await made.killed(point)
            assert await made.engine.start()
            await laboratory.acknowledged(50)
            laboratory.finish()
            await sending
            await drained(made.engine)
            assert await made.engine.stop() == 0
            way = Way("posted", "ehr", laboratory.book, made.mllp.arrivals, verbatim=True)
            return Oracle(made.engine, made.figures).check([way])

    run(scenario(), record_property)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(tmp_path: Path, seed: int, record_property: Record) -> None:
    """Eight kills at points and passes drawn from a seed, some of them before the last one was recovered from."""
    random = Random(seed)

    async def scenario() -> Any:
        async with site(tmp_path) as made:
            made.open_laboratories()
            for _ in range(8):
                point = random.choice(tuple(ON_THE_PATH))
                await made.engine.start(f"{point}:{random.randint(1, ON_THE_PATH[point])}")
                await made.killed(point)
            assert await made.engine.start()
            await made.settle()
            return await made.account()

    run(scenario(), record_property, "many kills in a row")
