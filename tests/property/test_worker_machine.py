"""Worker, outlets, owned lanes, sharing, recovery and sweeper as one machine, on a clock that stands still: whatever is
kept, answered, lost, killed, held and mended in any order, one delivery of a lane is under way, the order is kept,
nothing is sent again unless it is in doubt, nothing is lost, and all of it ends when the destination is back.

One process on SQLite; two on PostgreSQL, which share the lanes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine import breaker, pipeline
from engine.balance import balance
from engine.errors import Weight
from engine.model import MICROSECONDS as SECOND
from engine.model import Outcome
from engine.store import acts
from engine.store.sqlite import open_store
from engine.wiring import Retry
from tests import postgres
from tests.building import channel, merge, oru, spec
from tests.scripted_sites import TAKEN, UNANSWERED, Process, ScriptedSite, StillClock, StillLoop

T = TypeVar("T")
PATIENTS = st.sampled_from("ABC")
ANY = st.integers(0, 11)
"""Which of those that there are, counted round."""
ENDS = {
    "taken": (TAKEN, True),
    "busy": (Outcome("HTTP 503", Weight.TRANSIENT), False),
    "refused": (Outcome("AE 207", Weight.PERMANENT), False),
    "unanswered": (UNANSWERED, True),
    "lost on the way": (UNANSWERED, False),
}
STANDING = "SELECT id FROM delivery WHERE state IN ('held', 'dead') ORDER BY seq"
NOT_CLAIMED = "SELECT id FROM delivery WHERE open > 0 AND state <> 'claimed' ORDER BY seq"
OPEN = "SELECT seq, state, reason FROM delivery WHERE open > 0"
NOT_ENDED = "SELECT count(*) FROM delivery WHERE state NOT IN ('delivered', 'ended')"
FREE = "SELECT count(*) FROM lane WHERE owner IS NOT NULL OR due IS NOT NULL"
RETRY = Retry(attempts=3, first=SECOND, cap=60 * SECOND)
ROUNDS = 60
"""So many turns of the sweeper everything has to end in, once the destination takes what it is given."""


class WorkerMachine(RuleBasedStateMachine):
    """What any site does, with any store."""

    count = 1

    @initialize(behind=st.sampled_from(["", "wait", "pass"]), in_doubt=st.sampled_from(["resend", "ask", "hold"]))
    def begin(self, behind: str, in_doubt: str) -> None:
        self.randoms = pipeline.random, breaker.random
        pipeline.random = breaker.random = lambda: 0.999  # a wait is as long as it may be
        self.loop = StillLoop()
        self.clock = StillClock()
        self.folders = [Path(tempfile.mkdtemp(prefix="machine", dir=_fast()))]
        wiring = channel(spec(behind=behind, in_doubt=in_doubt, retry=RETRY))
        self.site = ScriptedSite(self.folders[0], wiring, self.opened, self.ended, self.count)
        self.site.outside.behind = behind or "order"
        self.controls = 0
        self.is_paused = False
        self.lost: set[str] = set()  # patients of whom something was kept and not offered
        for process in self.site.processes:
            self.run(process.start(paused=False))
        self.rest()

    async def opened(self) -> Any:
        raise NotImplementedError

    def ended(self, store: Any) -> None:
        raise NotImplementedError

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def rest(self, does: Callable[[], None] = lambda: None) -> None:
        """Do something on the loop, and let the site come to rest."""

        async def done() -> None:
            does()
            await self.site.quiet()

        self.run(done())

    # what comes in

    @rule(
        patient=PATIENTS,
        order=st.sampled_from("XY"),
        which=ANY,
        offered=st.sampled_from(["at once", "at once", "late"]),
    )
    def keep(self, patient: str, order: str, which: int, offered: str) -> None:
        self.take_in(oru(self.control(), patient, order=order), {patient}, which, offered)

    @rule(patients=st.sampled_from(["AB", "BA", "BC"]), which=ANY)
    def merge(self, patients: str, which: int) -> None:
        self.take_in(merge(self.control(), *patients), set(patients), which, "at once")

    def control(self) -> str:
        self.controls += 1
        return str(self.controls)

    def take_in(self, raw: bytes, patients: set[str], which: int, offered: str) -> None:
        if patients & self.lost:
            return
        process = self.process(which)
        process.offers.when = offered
        if offered == "never":
            self.lost |= patients
        assert self.run(process.line.send(raw)).positive
        self.rest()

    # what the destination says

    @rule(which=ANY, end=st.sampled_from(["taken", "taken", *ENDS]))
    def answer(self, which: int, end: str) -> None:
        if waiting := self.site.outside.waiting:
            self.rest(lambda: waiting[which % len(waiting)].tell(*ENDS[end]))

    @rule(is_up=st.booleans())
    def destination(self, is_up: bool) -> None:
        self.site.outside.is_up = is_up

    # time and persons

    @rule(seconds=st.sampled_from([1, 6, 40]))
    def time_passes(self, seconds: int) -> None:
        for process in self.site.living:
            self.rest(process.offers.come)
        self.run(self.site.pass_time(seconds, self.move))
        if seconds > 15:
            self.lost.clear()

    @rule()
    def pause_or_start(self) -> None:
        self.is_paused = not self.is_paused
        for process in self.site.living:
            outlet = process.outlet
            self.rest(partial(outlet.hold if self.is_paused else outlet.unhold, "person"))

    @rule(which=ANY, at=ANY, replays=st.booleans())
    def work_on_what_stands_still(self, which: int, at: int, replays: bool) -> None:
        act = acts.replay_delivery if replays else acts.end_delivery
        self.by_a_person(self.process(which), STANDING, at, act)

    @rule(which=ANY, at=ANY)
    def skip(self, which: int, at: int) -> None:
        self.by_a_person(self.process(which), NOT_CLAIMED, at, acts.end_delivery)

    def by_a_person(self, process: Process, query: str, at: int, act: Any) -> None:
        if found := self.rows(query):
            (number,) = found[at % len(found)]
            self.site.touched.add(number)
            changed = self.run(process.store.act(lambda t: act(t, number, "seen to", "maria")))
            self.rest(lambda: process.line.worker.unblock(changed))

    # what fails

    @rule(which=ANY)
    def kill_and_start(self, which: int) -> None:
        process = self.process(which)
        self.run(process.kill())
        self.run(process.start(self.is_paused))
        self.rest()

    # what holds

    @invariant()
    def the_balance_closes(self) -> None:
        if hasattr(self, "site"):
            assert self.run(self.process(0).store.read(balance)).faults == ()

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.everything_ends()
        finally:
            for process in self.site.living:
                self.run(process.kill())
            self.loop.close()
            pipeline.random, breaker.random = self.randoms
            for folder in self.folders:
                shutil.rmtree(folder)

    def everything_ends(self) -> None:
        """The destination is there, nobody pauses it, and a person sends on whatever stands still."""
        self.site.outside.is_up = True
        if self.is_paused:
            self.pause_or_start()
        for _ in range(ROUNDS):
            self.by_a_person(self.process(0), STANDING, 0, acts.replay_delivery)
            for one in self.site.outside.waiting:
                self.rest(partial(one.tell, TAKEN, True))
            self.time_passes(6)
            if not self.rows(OPEN):
                break
        assert self.rows(OPEN) == []
        assert self.rows(NOT_ENDED) == [(0,)]
        self.the_balance_closes()

    # short ways

    def process(self, which: int) -> Process:
        return self.site.processes[which % self.count]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.run(self.process(0).line.rows(query))

    def move(self, seconds: float) -> None:
        self.clock.at += int(seconds * SECOND)
        self.loop.moved += seconds


class OnSqlite(WorkerMachine):
    """A process that is killed leaves its files as they lie; the next one is given a copy of them."""

    async def opened(self) -> Any:
        return open_store(self.folders[-1], "", self.clock, self.loop)

    def ended(self, store: Any) -> None:
        copy = Path(tempfile.mkdtemp(prefix="machine", dir=_fast()))
        shutil.copytree(self.folders[-1], copy, dirs_exist_ok=True)
        store.close()
        self.folders.append(copy)


class OnPostgres(WorkerMachine):
    """Two processes. Time passes by bringing forward what the database's clock decides."""

    count = 2

    async def opened(self) -> Any:
        return await postgres.join(self.folders[0])

    def ended(self, store: Any) -> None:
        postgres.kill(store)

    def move(self, seconds: float) -> None:
        self.loop.moved += seconds
        by = int(seconds * SECOND)
        postgres.run(
            postgres.database().admin,
            f"UPDATE interlock.lane SET due = greatest(0, due - {by}) WHERE due IS NOT NULL",
            f"UPDATE interlock.delivery SET next_at = greatest(0, next_at - {by}) WHERE next_at > 0",
        )

    @rule(which=ANY)
    def release_lanes(self, which: int) -> None:
        """As when it stops: what is under way goes on, and whoever takes its lanes finds it claimed."""
        self.site.touched |= {one.delivery.id for one in self.site.outside.waiting}
        self.rest(self.process(which).outlet.release_all)

    @rule(which=ANY)
    def taken_for_gone(self, which: int) -> None:
        """The others bury a process that goes on; what its destination says from then on comes late."""
        process, other = self.process(which), self.process(which + 1)
        self.rest(process.offers.come)
        postgres.end_lease(process.store)
        self.run(other.sweep())
        self.run(process.sweep())
        self.rest()

    def everything_ends(self) -> None:
        super().everything_ends()
        self.time_passes(40)
        assert self.rows(FREE) == [(0,)]


def _fast() -> str | None:
    """Where a commit costs no disk: what a power failure does is other tests' matter."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


#: To make what was found smaller takes minutes: whoever wants that adds `Phase.shrink`, on SQLite.
COMMON: dict[str, Any] = {
    "deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True,
    "phases": [Phase.explicit, Phase.generate],
}  # fmt: skip
OnSqlite.TestCase.settings = settings(max_examples=60, stateful_step_count=40, **COMMON)
OnPostgres.TestCase.settings = settings(max_examples=5, stateful_step_count=30, **COMMON)
TestOneWorkerOnSqlite = OnSqlite.TestCase


@pytest.fixture
def a_server() -> None:
    postgres.database()  # skips or fails here when there is no server


@pytest.mark.usefixtures("a_server")
class TestTwoWorkersOnPostgres(OnPostgres.TestCase):  # type: ignore[name-defined,misc]
    """Two that share their lanes."""


@contextmanager
def machine(behind: str = "wait") -> Iterator[OnPostgres]:
    """A machine that is led by hand; at its end everything ends as ever."""
    state = OnPostgres()
    state.begin(behind=behind, in_doubt="resend")
    try:
        yield state
    finally:
        state.teardown()


@pytest.mark.usefixtures("a_server")
def test_an_offer_that_comes_while_its_lane_is_released_begins_nothing() -> None:
    """What was fed beside the release is taken with the lane, by whoever is first; nothing is claimed in vain."""
    with machine() as state:
        state.keep(patient="A", order="X", which=0, offered="at once")
        state.keep(patient="A", order="X", which=0, offered="late")
        state.answer(which=0, end="taken")
        assert [one.delivery.seq for one in state.site.outside.given] == [1, 2]


@pytest.mark.usefixtures("a_server")
def test_a_lane_that_is_owned_and_in_nobodys_memory_is_released() -> None:
    with machine() as state:
        state.keep(patient="A", order="X", which=0, offered="never")
        assert not state.site.outside.given
        state.time_passes(16)
        assert [one.delivery.seq for one in state.site.outside.given] == [1]


@pytest.mark.usefixtures("a_server")
def test_two_lanes_at_one_merge_are_released_once_each() -> None:
    """A release of one of them releases the other, which waits for it; in one commit with its own release."""
    with machine() as state:
        for patients in ("AB", "BC", "CB", "BA"):
            state.merge(patients=patients, which=0)
        state.release_lanes(which=0)
        state.release_lanes(which=1)


def test_nothing_passes_a_merge_that_is_under_way_from_its_other_lane() -> None:
    """A person puts one back in front of a merge that had passed it: it waits for the merge's answer."""
    state = OnSqlite()
    state.begin(behind="pass", in_doubt="resend")
    try:
        state.keep(patient="B", order="X", which=0, offered="at once")
        state.answer(which=0, end="refused")
        state.merge(patients="AB", which=0)
        state.work_on_what_stands_still(which=0, at=0, replays=True)
        assert [one.delivery.seq for one in state.site.outside.given] == [1, 2]
        state.answer(which=0, end="taken")
        assert [one.delivery.seq for one in state.site.outside.given] == [1, 2, 1]
    finally:
        state.teardown()


def test_what_is_left_behind_an_emptied_lane_is_found() -> None:
    """The second lane of a merge that was sent is not kept: the sweeper would take what it lacks for cared for."""
    state = OnSqlite()
    state.begin(behind="wait", in_doubt="resend")
    try:
        state.merge(patients="AB", which=0)
        state.answer(which=0, end="taken")
        state.keep(patient="B", order="X", which=0, offered="never")
        state.time_passes(6)
        assert [one.delivery.seq for one in state.site.outside.given] == [1, 2]
    finally:
        state.teardown()
