"""Sites for state machines: real workers, sharing and sweepers, a clock that stands still, and a destination that says
what a machine chooses, when it chooses.

Every process runs in one loop whose timers go by that clock, so that nothing happens between two steps: after each the
site is quiet. What the destination is given is judged at once, by the store's rows and by what it was given before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import StoreUnavailable, Weight
from engine.model import MICROSECONDS, Attempt, Delivery, DeliveryState, Outcome, show_id
from engine.outlet import Outlet
from engine.ports import Sending
from engine.recovery import recover, restore
from engine.store.committing import CommittingStore
from engine.sweeper import TURN_SECONDS, Sweeper
from engine.wiring import Channel
from tests import building
from tests.building import Path_
from tests.sites import Bell

TAKEN = Outcome("taken", level="application")
UNREACHABLE = Outcome("unreachable", Weight.TRANSIENT, unreachable=True)
UNANSWERED = Outcome("answer_timeout", Weight.AMBIGUOUS)
NOT_THERE = Outcome("not_there", Weight.TRANSIENT)
QUIET_SECONDS = 20
"""So much real time a site has to come to rest; one that never does would hang the test."""
BEFORE = (
    "SELECT id, state, reason, order_key, barrier FROM delivery WHERE open > 0 AND seq < ?"
    " AND (lane IN (?, ?) OR barrier IN (?, ?))"
)


class StillLoop(asyncio.SelectorEventLoop):
    """A loop whose timers go by a time that a test moves."""

    moved = 1000.0

    def time(self) -> float:
        """Seconds."""
        return self.moved


class StillClock:
    """Stands still until it is moved."""

    at = 1_790_000_000_000_000

    def now(self) -> int:
        """Microseconds since 1970."""
        return self.at


@dataclass(eq=False)
class Given:
    """One delivery as the destination was given it. `answer` is what it will say."""

    delivery: Delivery
    process: Process
    answer: asyncio.Future[Outcome]
    told: Outcome | None = None
    arrived: bool = True
    """False: it says so when it is asked, and it is right."""

    def __post_init__(self) -> None:
        self._store, self._epoch = self.process.store, self.process.store.epoch

    @property
    def is_waiting(self) -> bool:
        """True while the process that sent it waits for the answer."""
        return self.process.lives and self.process.store is self._store and not self.answer.done()

    @property
    def counts(self) -> bool:
        """False when whoever sent it was killed, or taken for one that is gone: then its outcome is nobody's."""
        return self.process.lives and self.process.store is self._store and self._store.epoch == self._epoch

    def tell(self, outcome: Outcome, arrived: bool) -> None:
        """Answer."""
        self.told, self.arrived = outcome, arrived
        self.answer.set_result(outcome)


@dataclass
class Outside:
    """What the destination was given, by any process, in order."""

    given: list[Given] = field(default_factory=list)
    known: dict[str, Delivery] = field(default_factory=dict)
    """Every delivery that was ever made, as it was offered."""
    is_up: bool = True
    behind: str = "order"

    @property
    def waiting(self) -> list[Given]:
        """What waits for an answer, in the order of acceptance."""
        return sorted((one for one in self.given if one.is_waiting), key=lambda one: one.delivery.seq)

    def has(self, delivery: str) -> bool:
        """True when a delivery has arrived."""
        return any(one.arrived for one in self.given if show_id(one.delivery.id) == delivery)

    async def judge(self, delivery: Delivery, resend: bool, process: Process) -> None:
        """Whatever is sent is the only one of its lanes, comes in order, and was not taken before."""
        earlier = [one for one in self.given if one.delivery.id == delivery.id]
        assert not any(one.told and one.told.taken and one.counts for one in earlier), "sent again after it was taken"
        unsure = [one for one in earlier if one.told is None or one.told.weight is Weight.AMBIGUOUS]
        assert resend or not unsure, "in doubt, and sent as if it were new"
        assert resend is False or earlier, "in doubt, and never sent before"
        lanes = set(delivery.lanes)
        others = [one for one in self.waiting if one.counts and lanes & set(one.delivery.lanes)]
        assert not others, "two of a lane are under way"
        values = (delivery.seq, delivery.lane, delivery.barrier, delivery.lane, delivery.barrier)
        rows = await process.store.read(lambda c: c.execute(BEFORE, values).fetchall())
        for row in rows:
            assert self._lets_pass(*row[1:], delivery), f"delivery {delivery.seq} passed one that is {row[1]}"

    def _lets_pass(self, state: str, reason: str, order: bytes, barrier: bytes | None, later: Delivery) -> bool:
        """By `behind`; what a person has just sent on stands still for whoever passes it until its lane is read."""
        if state not in (DeliveryState.HELD, DeliveryState.DEAD) and reason != "replayed":
            return False
        if self.behind == "order":
            return order != later.order_key and not barrier and not later.barrier
        return self.behind == "pass"


class Scripted:
    """One process's destination: what it is given waits for the machine's word, at most as long as connectors wait."""

    def __init__(self, outside: Outside, process: Process, timeout: int) -> None:
        self._outside = outside
        self._process = process
        self._timeout = timeout / MICROSECONDS

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        if not self._outside.is_up:
            return UNREACHABLE
        delivery = self._outside.known[sending.delivery]
        try:
            await self._outside.judge(delivery, sending.resend, self._process)
        except AssertionError as error:
            self._process.site.wrongs.append(str(error))
        one = Given(delivery, self._process, asyncio.get_running_loop().create_future())
        self._outside.given.append(one)
        try:
            return await asyncio.wait_for(one.answer, self._timeout)
        except TimeoutError:
            one.told = UNANSWERED
            return UNANSWERED

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        if not self._outside.is_up:
            return None
        return TAKEN if self._outside.has(sending.delivery) else NOT_THERE

    async def test(self) -> str:
        return ""

    async def close(self) -> None:
        return


class Offers:
    """The worker as `accept` sees it: an offer comes at once, right after the next release, or never.

    Between a commit and the offer of what it kept a loop has other things to do; and a sender may go away meanwhile.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self.when = "at once"
        self.late: list[Delivery] = []

    def offer(self, delivery: Delivery) -> None:
        self._process.site.outside.known[show_id(delivery.id)] = delivery
        if self.when != "never":
            self.late.append(delivery)
        if self.when == "at once":
            self.come()

    def come(self) -> None:
        """What is late comes."""
        late, self.late = self.late, []
        for delivery in late:
            self._process.line.worker.offer(delivery)


class Gone:
    """The store of a process that was killed: nothing more that it says gets there."""

    def __init__(self, store: CommittingStore) -> None:
        self._store = store
        self.shared = store.shared

    def now(self) -> int:
        return self._store.now()

    def release(self, *_: Any) -> asyncio.Future[list[str]]:
        return asyncio.get_running_loop().create_future()

    def settle(self, *_: Any) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()


class Process:
    """One process of a site: started, killed and started again."""

    line: Path_
    store: Any

    def __init__(self, site: ScriptedSite) -> None:
        self.site = site
        self.lives = False

    async def start(self, paused: bool) -> None:
        """Open the store, recover what an earlier one left, and carry."""
        site, wiring = self.site, self.site.wiring
        self.store = await site.open()
        await self.store.know(wiring.owner)
        self.line = building._line(site.folder, self.store, wiring, True, {"broker": Bell(site.bells)})
        worker = self.line.worker
        self.line.ports.lanes = self.offers = Offers(self)
        for spec in wiring.destinations:
            outlet = Outlet(self.line.running, spec, Scripted(site.outside, self, spec.timeout), worker)
            worker.outlets[wiring.name, spec.name] = self.outlet = outlet
            if paused:
                outlet.hold("person")
        self._watch()
        self.lives = True
        await worker.broker.start(self.line.heard)
        await recover(self.store)
        await restore(self.store, worker, wiring)
        self.sweeper = Sweeper(self.store, worker, site.folder, 0, _nothing)

    async def sweep(self) -> None:
        """A turn of its sweeper, as the sweeper's own task takes it: who has lost its lease hears so and goes on."""
        with suppress(StoreUnavailable):
            await self.sweeper.turn()

    async def kill(self) -> None:
        """End it as SIGKILL does, and let the others find out."""
        self.lives = False
        await self.line.worker.broker.stop()
        self.line.worker.ending = self.line.worker.sharing.ending = True
        self.line.ports.store = self.line.worker.sharing._ports.store = Gone(self.store)  # type: ignore[assignment]
        self.outlet.hold("killed")
        tasks = list(self.outlet._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.site.end(self.store)

    @property
    def is_busy(self) -> bool:
        """True while something goes on that neither a timer nor the destination has to begin."""
        outlet, line = self.outlet, self.line
        waiting = sum(one.is_waiting and one.process is self for one in self.site.outside.given)
        most = 1 if outlet.breaker.open else outlet._most
        starts = outlet._ready and outlet._at_work < most and not outlet.paused and outlet.breaker.lets_pass()
        rung: Any = line.worker.broker
        shared = bool(outlet.owned.releasing or line.taking or line.worker.sharing.is_taking or rung._waiting)
        return bool(starts) or outlet._at_work != waiting or shared

    def _watch(self) -> None:
        """Late offers come right after a release; a claim that comes to nothing was begun for nothing."""
        release, claim = self.outlet.owned._release, self.store.claim

        def released(*words: Any) -> None:
            release(*words)
            self.offers.come()

        async def claimed(attempt: Attempt) -> bool:
            epoch = self.store.epoch
            done: bool = await claim(attempt)
            if not done and epoch == self.store.epoch and attempt.delivery.id not in self.site.touched:
                self.site.wrongs.append(f"delivery {attempt.delivery.seq} was claimed in vain")
            return done

        self.outlet.owned._release = released
        self.store.claim = claimed


async def _nothing() -> None:
    """Nobody else decides anything about these channels."""


class ScriptedSite:
    """Processes over one store. `open` opens it for one of them, `end` leaves it as a killed process does."""

    def __init__(
        self, folder: Path, wiring: Channel, open_: Callable[[], Any], end: Callable[[Any], None], count: int
    ) -> None:
        self.folder = folder
        self.wiring = wiring
        self.open = open_
        self.end = end
        self.outside = Outside()
        self.bells: list[Bell] = []
        self.wrongs: list[str] = []
        self.touched: set[int] = set()  # deliveries that may change hands while they are in memory
        self.processes = [Process(self) for _ in range(count)]

    @property
    def living(self) -> list[Process]:
        """Those that run."""
        return [one for one in self.processes if one.lives]

    async def quiet(self) -> None:
        """Wait until everybody waits for the clock or for the destination; what was found wrong is raised here."""
        until = time.monotonic() + QUIET_SECONDS
        calm = 0
        while calm < 3:
            calm = 0 if any(one.is_busy for one in self.living) else calm + 1
            await asyncio.sleep(0)
            time.sleep(0.0001)  # the threads that commit need the interpreter, too
            assert time.monotonic() < until, "the site does not come to rest"
        assert not self.wrongs, self.wrongs

    async def sweep(self) -> None:
        """A turn of everybody's sweeper."""
        for one in self.living:
            await one.sweep()
            await one.store.act(lambda t: None)  # what it released without waiting is committed
            await self.quiet()

    async def pass_time(self, seconds: float, move: Callable[[float], None]) -> None:
        """Let time go by in steps of a sweeper's turn; `move` moves the clocks."""
        while seconds > 0:
            step = min(seconds, TURN_SECONDS)
            move(step)
            await self.quiet()
            await self.sweep()
            seconds -= step
