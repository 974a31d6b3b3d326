"""lane: what a held or dead delivery blocks, and what passes it."""

from __future__ import annotations

import pytest

from engine.lane import Behind, Lane, Memory, behind
from engine.model import Delivery
from engine.wiring import DestinationSpec


def delivery(seq: int, order: bytes = b"o1", barrier: bytes = b"") -> Delivery:
    return Delivery(seq, seq, "site", "lab", "ehr", b"lane", seq, order, barrier)


def lane(rule: Behind, *queued: Delivery) -> Lane:
    made = Lane(b"lane", rule, Memory(1000, 1 << 20))
    for one in queued:
        made.add(one)
    return made


def after_blocking_the_first(rule: Behind, second: Delivery) -> Delivery | None:
    first = delivery(1)
    made = lane(rule, first, second)
    made.remove(first.id)
    made.block(first)
    return made.next()


def test_a_lane_goes_in_order() -> None:
    made = lane("wait", delivery(1), delivery(2))
    assert made.next() is not None and made.next().seq == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rule", "order", "passes"),
    [("wait", b"o2", False), ("order", b"o1", False), ("order", b"o2", True), ("pass", b"o1", True)],
)
def test_what_passes_a_blocked_delivery(rule: Behind, order: bytes, passes: bool) -> None:
    assert (after_blocking_the_first(rule, delivery(2, order)) is not None) is passes


def test_a_merge_waits_for_everything_before_it() -> None:
    assert after_blocking_the_first("order", delivery(2, b"o2", barrier=b"other")) is None


def test_nothing_passes_a_blocked_merge() -> None:
    first = delivery(1, b"o1", barrier=b"other")
    made = lane("order", first, delivery(2, b"o2"))
    made.remove(first.id)
    made.block(first)
    assert made.next() is None


def test_to_unblock_it_lets_the_lane_go_on() -> None:
    first = delivery(1)
    made = lane("wait", first, delivery(2))
    made.remove(first.id)
    made.block(first)
    made.unblock(first.id)
    assert made.next() is not None


def test_a_replayed_delivery_goes_back_to_its_place() -> None:
    first = delivery(1)
    made = lane("wait", first, delivery(2), delivery(3))
    made.remove(first.id)
    made.add(first)
    assert [one.seq for one in made.queue] == [1, 2, 3]
    made.add(first)
    assert [one.seq for one in made.queue] == [1, 2, 3]


def test_without_places_the_rest_stays_in_the_store() -> None:
    memory = Memory(1, 1 << 20)
    made = Lane(b"lane", "wait", memory)
    made.add(delivery(1))
    made.add(delivery(2))
    memory.places_left = 1000
    made.add(delivery(3))  # behind one that is not in memory nothing may come in
    assert [one.seq for one in made.queue] == [1]
    assert made.later == 3


@pytest.mark.parametrize(
    ("kind", "more", "rule"),
    [
        ("result", {}, "order"),
        ("order", {}, "wait"),
        ("prescription", {}, "wait"),
        ("result", {"behind": "wait"}, "wait"),
        ("order", {"behind": "pass"}, "pass"),
        ("order", {"order": "none"}, "pass"),
    ],
)
def test_the_rule_of_a_destination(kind: str, more: dict[str, str], rule: str) -> None:
    assert behind(kind, DestinationSpec("e", "memory://e", **more)) == rule  # type: ignore[arg-type]


def test_memory_is_given_back() -> None:
    memory = Memory(10, 100)
    made = Lane(b"lane", "wait", memory)
    for seq in (1, 2):
        one = delivery(seq)
        one.raw = b"x" * 60
        made.add(one)
    assert (memory.places_left, memory.bytes_left) == (8, -20)
    third = delivery(3)
    third.raw = b"x"
    made.add(third)
    assert third.raw is None
    made.remove(1)
    made.clear()
    assert (memory.places_left, memory.bytes_left) == (10, 100)


def test_nothing_passes_a_merge_that_waits_behind_a_held_one() -> None:
    first = delivery(1, b"o1")
    made = lane("order", first, delivery(2, b"o2", barrier=b"other"), delivery(3, b"o3"))
    made.remove(first.id)
    made.block(first)
    assert made.next() is None


def test_a_lane_that_is_blocked_in_memory_reads_nothing_from_the_store() -> None:
    first = delivery(1)
    made = lane("wait", first)
    made.remove(first.id)
    made.block(first)
    made.later = 9
    assert not made.reads_on
    made.unblock(first.id)
    assert made.reads_on


def test_behind_a_held_order_the_lane_reads_on_for_the_others() -> None:
    first = delivery(1)
    made = lane("order", first, delivery(2))
    made.remove(first.id)
    made.block(first)
    made.later = 9
    assert made.next() is None and made.reads_on


def test_a_merge_is_held_in_memory_once() -> None:
    memory = Memory(10, 100)
    one, two = Lane(b"lane", "wait", memory), Lane(b"other", "wait", memory)
    merge = delivery(1, barrier=b"other")
    merge.raw = b"x" * 60
    one.add(merge)
    two.add(merge)
    assert (memory.places_left, memory.bytes_left) == (9, 40)
    one.remove(1)
    two.remove(1)
    assert (memory.places_left, memory.bytes_left) == (10, 100)
