"""Store and lanes as one machine: whatever is kept, sent, lost, killed and mended in any order, the balance closes,
delivery numbers have no gap, and nothing leaves while something before it in one of its lanes is still open.

A crash is a copy of the files as they lie, opened by a new process's store: what was not committed is not there.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.balance import balance
from engine.errors import Weight
from engine.lane import Lane, Memory, stands_still
from engine.model import Attempt, Delivery, DeliveryState, MessageState, Outcome
from engine.recovery import recover
from engine.store import acts
from engine.store.sqlite import SqliteStore, open_store
from tests import stores

T = TypeVar("T")
PATIENTS = st.sampled_from("AB")
OPEN_BEFORE = "SELECT count(*) FROM delivery WHERE open > 0 AND id <> ?1 AND (lane = ?2 OR barrier = ?2) AND seq < ?3"
ENDS = {
    "delivered": (DeliveryState.DELIVERED, stores.TAKEN),
    "dead": (DeliveryState.DEAD, Outcome("AE 207", Weight.PERMANENT)),
    "again": (DeliveryState.QUEUED, Outcome("HTTP 503", Weight.TRANSIENT)),
    "in doubt": (DeliveryState.IN_DOUBT, Outcome("answer_timeout", Weight.AMBIGUOUS)),
}


class StoreMachine(RuleBasedStateMachine):
    """Lanes in memory are filled as the worker fills them, and rebuilt from the store after a crash."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = stores.StepClock()
        self.folders = [Path(tempfile.mkdtemp(prefix="machine"))]
        self.lanes: dict[bytes, Lane] = {}
        self.known: dict[int, Delivery] = {}
        self.claimed: dict[int, Attempt] = {}
        self.delivered: list[int] = []
        self.held: list[int] = []
        self.controls = 0
        self.store = self.opened()

    def opened(self) -> SqliteStore:
        async def make() -> SqliteStore:
            store = open_store(self.folders[-1], "", self.clock, self.loop)
            await store.know(stores.SITE)
            return store

        return self.run(make())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # what comes in

    @rule(
        patient=PATIENTS,
        merged=st.sampled_from(["", "", "A", "B"]),
        repeated=st.sampled_from([False, False, False, True]),
    )
    def keep(self, patient: str, merged: str, repeated: bool) -> None:
        self.controls += not (repeated and self.controls)
        control = str(self.controls)
        kept = self.run(stores.keep(self.store, control, patient=patient, merged="" if merged == patient else merged))
        for delivery in kept.deliveries:
            self.offer(delivery)

    @rule()
    def keep_unreadable(self) -> None:
        self.controls += 1
        made = stores.held(self.store, str(self.controls))
        if self.run(self.store.keep(made)).state is MessageState.HELD:
            self.held.append(made.id)

    # what goes out

    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        heads = self.heads()
        if heads:
            delivery = data.draw(st.sampled_from(heads))
            self.nothing_open_is_before(delivery)
            self.claimed[delivery.id] = self.run(stores.claim(self.store, delivery))

    @rule(data=st.data())
    def carry(self, data: st.DataObject) -> None:
        """The ordinary course, so that lanes move: claimed and delivered."""
        heads = self.heads()
        if heads:
            delivery = data.draw(st.sampled_from(heads))
            self.nothing_open_is_before(delivery)
            self.run(stores.deliver(self.store, delivery))
            self.delivered.append(delivery.id)
            self.leave(delivery)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), end=st.sampled_from(sorted(ENDS)))
    def settle(self, data: st.DataObject, end: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.claimed)))
        attempt = self.claimed.pop(number)
        state, outcome = ENDS[end]
        assert self.run(stores.settle(self.store, attempt, state, outcome))
        delivery = attempt.delivery
        if state is DeliveryState.DELIVERED:
            self.delivered.append(number)
        if state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
            self.leave(delivery)

    @rule(data=st.data())
    def put_aside(self, data: st.DataObject) -> None:
        heads = self.heads()
        if heads:
            delivery = data.draw(st.sampled_from(heads))
            assert self.run(self.wait(self.store.put_aside(delivery, DeliveryState.HELD, "unmapped")))
            delivery.state = DeliveryState.HELD
            self.leave(delivery)

    # what persons do

    @rule(data=st.data(), ends=st.booleans())
    def work_on_what_stands_still(self, data: st.DataObject, ends: bool) -> None:
        blocked = sorted({number for lane in self.lanes.values() for number in lane.blocked})
        if blocked:
            number = data.draw(st.sampled_from(blocked))
            act = acts.end_delivery if ends else acts.replay_delivery
            found = self.run(self.store.act(partial(act, number=number, reason="seen to", actor="maria")))
            for lane in self.lanes_of(found):
                lane.unblock(number)
            if not ends:
                self.offer(found)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        number, new = data.draw(st.sampled_from(self.delivered)), self.store.ids.next()
        act = partial(acts.resend_delivery, number=number, new=new, reason="lost there", actor="maria")
        self.offer(self.run(self.store.act(act)))

    @precondition(lambda self: self.held)
    @rule(replays=st.booleans())
    def work_on_a_held_message(self, replays: bool) -> None:
        number = self.held.pop()
        if replays:
            self.controls += 1
            successor = stores.receipt(self.store, str(self.controls), original=number)
            for delivery in self.run(self.store.keep(successor)).deliveries:
                self.offer(delivery)
        else:
            self.run(self.store.act(partial(acts.end_message, number=number, reason="no use", actor="maria")))

    # what fails

    @rule()
    def crash(self) -> None:
        copy = Path(tempfile.mkdtemp(prefix="machine"))
        shutil.copytree(self.folders[-1], copy, dirs_exist_ok=True)
        self.store.close()
        self.folders.append(copy)
        self.store = self.opened()
        assert self.run(recover(self.store)) == len(self.claimed)
        self.claimed.clear()
        keys, self.lanes = list(self.lanes), {}
        for key in keys:
            for delivery in self.run(self.store.open_of_lane("lab", "ehr", key, 0, 10_000)):
                if stands_still(delivery.state):
                    self.lane(key).block(delivery)
                else:
                    self.lane(key).add(delivery)

    # what holds

    @invariant()
    def the_balance_closes(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.store.read(balance)).faults == ()

    @invariant()
    def numbers_are_given_once_and_without_gaps(self) -> None:
        if hasattr(self, "store"):
            query = "SELECT seq FROM delivery"
            numbers = [seq for (seq,) in self.run(self.store.read(lambda c: c.execute(query).fetchall()))]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.loop.close()
            for folder in self.folders:
                shutil.rmtree(folder)

    # lanes as the worker keeps them

    def lane(self, key: bytes) -> Lane:
        return self.lanes.setdefault(key, Lane(key, "wait", Memory(1000, 1 << 20)))

    def lanes_of(self, delivery: Delivery) -> list[Lane]:
        return [self.lane(key) for key in (delivery.lane, delivery.barrier) if key]

    def offer(self, delivery: Delivery) -> None:
        for lane in self.lanes_of(delivery):
            lane.add(delivery)

    def leave(self, delivery: Delivery) -> None:
        for lane in self.lanes_of(delivery):
            lane.remove(delivery.id)
            if stands_still(delivery.state):
                lane.block(delivery)

    def heads(self) -> list[Delivery]:
        """What may go out now, in an order that does not depend on the store's random keys."""
        found = [head for key, lane in list(self.lanes.items()) if (head := lane.next()) and self.may_go(key, head)]
        return sorted(found, key=lambda one: one.id)

    def may_go(self, key: bytes, head: Delivery) -> bool:
        """As the worker: from its first lane, heading all its lanes, with nothing of them under way."""
        if key != head.lane or any(self.under_way(lane.key) for lane in self.lanes_of(head)):
            return False
        heads = [lane.next() for lane in self.lanes_of(head)]
        return all(one is not None and one.id == head.id for one in heads)

    def under_way(self, key: bytes) -> bool:
        return any(key in (a.delivery.lane, a.delivery.barrier) for a in self.claimed.values())

    def nothing_open_is_before(self, delivery: Delivery) -> None:
        assert [self.open_before(delivery, key) for key in (delivery.lane, delivery.barrier)] == [0, 0]

    def open_before(self, delivery: Delivery, key: bytes) -> int:
        values = (delivery.id, key, delivery.seq)
        (count,) = self.run(self.store.read(lambda c: c.execute(OPEN_BEFORE, values).fetchone()))
        return int(count)

    @staticmethod
    async def wait(future: asyncio.Future[T]) -> T:
        return await future


StoreMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestStoreMachine = StoreMachine.TestCase
