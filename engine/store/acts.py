"""What a person, or the engine itself, does to stored messages: each runs inside a commit, through `store.act`.

Invariant: an act applies only to what still stands as its author saw it, checked in the statement that changes it;
every act is an event with its actor and reason; an act that does not apply changes nothing.

    delivery = await store.act(lambda t: acts.end_delivery(t, number, "sent by fax", "maria"))
    worker.unblock(delivery)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import Conflict, NotFound
from engine.model import Delivery, DeliveryState, show_id
from engine.store import backlog
from engine.store.ledger import OPEN, Transaction

ENGINE = "engine"
"""The actor of what the engine does by itself."""

END_MESSAGE = (
    "UPDATE message SET state = 'ended', reason = 'ended', changed_at = ? WHERE id = ? AND state = 'held'"
    " RETURNING organization"
)
HELD_MESSAGE = "SELECT organization, channel FROM message WHERE id = ? AND state = 'held'"
MESSAGE_STATE = "SELECT state FROM message WHERE id = ?"
DELIVERY_STATE = "SELECT state FROM delivery WHERE id = ?"
RESEND = (
    "INSERT INTO delivery (id, organization, message, channel, destination, lane, seq, barrier, order_key, rule, state,"
    " open, reason, attempts, attempt, epoch, next_at, changed_at)"
    " SELECT CAST(? AS bigint), organization, message, channel, destination, lane, CAST(? AS bigint), barrier,"
    " order_key, CAST(? AS text), 'queued', 1, '', 0, 0, 0, 0, CAST(? AS bigint)"
    " FROM delivery WHERE id = ?"
)
SET_CHANNEL_STATE = (
    "INSERT INTO channel_state (channel, destination, state, reason, at) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (channel, destination)"
    " DO UPDATE SET state = excluded.state, reason = excluded.reason, at = excluded.at"
)
CLOSE_ITEM = (
    "UPDATE item SET closed_at = ?, closed_by = ?, reason = ? WHERE id = ? AND closed_at IS NULL RETURNING organization"
)
UNDECIDED = "SELECT 1 FROM delivery WHERE id = ? AND state = 'in doubt' AND reason <> 'replayed'"
TO_STATE = "UPDATE delivery SET state = ?, open = ?, reason = ?, attempts = ?, next_at = 0, changed_at = ? WHERE id = ?"


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """Where a held message belongs."""

    organization: str
    channel: str


def end_message(t: Transaction, number: int, reason: str, actor: str) -> None:
    """Close a held message for good.

    Raises:
        NotFound, Conflict: there is no such message, or it is not held.
    """
    row = t.connection.execute(END_MESSAGE, (_now(t), number)).fetchone()
    if row is None:
        raise _not_so(t, MESSAGE_STATE, number, "a held message")
    t.event(row[0], "ended", number, reason, actor)


def request_replay(t: Transaction, number: int, reason: str, actor: str) -> HeldMessage:
    """Note who wants a held message to enter the path again, and why; keeping its successor ends it.

    Raises:
        NotFound, Conflict: there is no such message, or it is not held.
    """
    row = t.connection.execute(HELD_MESSAGE, (number,)).fetchone()
    if row is None:
        raise _not_so(t, MESSAGE_STATE, number, "a held message")
    t.event(row[0], "replay_requested", number, reason, actor)
    return HeldMessage(*row)


def end_delivery(t: Transaction, number: int, reason: str, actor: str) -> Delivery:
    """Close a delivery that was not sent for good; its lane goes on without it.

    Raises:
        NotFound, Conflict: there is no such delivery, or it has ended, or its bytes may be leaving right now.
    """
    waiting = (DeliveryState.QUEUED, DeliveryState.IN_DOUBT, DeliveryState.HELD, DeliveryState.DEAD)
    found = _change(t, number, waiting, DeliveryState.ENDED, "ended")
    t.event(found.organization, "ended", number, reason, actor)
    return found


def replay_delivery(t: Transaction, number: int, reason: str, actor: str) -> Delivery:
    """Let a held or dead delivery flow again from its old place, with a fresh number of attempts.

    What may have arrived is in doubt again: its stored output goes out, or the destination is asked, by its policy.

    Raises:
        NotFound, Conflict: there is no such delivery, or it neither is held nor dead.
    """
    found = _wanted(t, number, (DeliveryState.HELD, DeliveryState.DEAD))
    state = DeliveryState.IN_DOUBT if _may_have_arrived(t, found) else DeliveryState.QUEUED
    _set(t, found, state, "replayed", 0)
    t.event(found.organization, "replayed", number, reason, actor)
    return found


def resend_delivery(t: Transaction, number: int, new: int, reason: str, actor: str) -> Delivery:
    """Send what was delivered, or ended by a person, once more: as delivery `new` at the end of the same lane.

    Raises:
        NotFound, Conflict: there is no such delivery, or it is still on its way.
    """
    found = _wanted(t, number, (DeliveryState.DELIVERED, DeliveryState.ENDED))
    seq = t.next_number(found.channel, found.destination)
    t.connection.execute(RESEND, (new, seq, f"resent: {reason}", _now(t), number))
    t.ledger.touched(t, found)
    t.event(found.organization, "resent", number, show_id(new), reason, actor)
    t.event(found.organization, "resent_from", new, show_id(number), reason, actor)
    return _delivery(t, new)


def set_channel_state(
    t: Transaction, channel: str, destination: str, state: str, reason: str, actor: str, organization: str
) -> None:
    """Record that a channel (destination "") or one of its destinations was started, paused or stopped."""
    t.connection.execute(SET_CHANNEL_STATE, (channel, destination, state, reason, _now(t)))
    t.event(organization, "channel_" + state, 0, channel, destination, reason, actor, rare=False)


def close_item(t: Transaction, number: int, reason: str, actor: str) -> None:
    """Close an open item: somebody has seen to it. When it happens again a new one opens.

    Raises:
        NotFound: there is no such open item.
    """
    row = t.connection.execute(CLOSE_ITEM, (_now(t), actor, reason, number)).fetchone()
    if row is None:
        raise NotFound(f"no item {show_id(number)} is open")
    t.event(row[0], "item_closed", number, reason, actor)


# what the engine does by itself


def doubt(t: Transaction, numbers: Iterable[int]) -> int:
    """Put deliveries that a crash left claimed in doubt: their bytes may have arrived."""
    changed = 0
    for number in numbers:
        found = backlog.delivery(t.connection, number)
        if found is not None and found.state is DeliveryState.CLAIMED:
            _set(t, found, DeliveryState.IN_DOUBT, "crash", found.attempts)
            t.event(found.organization, "in_doubt", number, "crash", ENGINE)
            changed += 1
    return changed


def hold(t: Transaction, numbers: Iterable[int], reason: str) -> list[Delivery]:
    """Hold deliveries that flow: by the policy for what is in doubt, or because their destination is gone."""
    return _each(t, numbers, (DeliveryState.QUEUED, DeliveryState.IN_DOUBT), DeliveryState.HELD, reason)


def hold_doubtful(t: Transaction, numbers: Iterable[int]) -> set[int]:
    """Hold what is in doubt, by the policy `hold`, but for what a person has sent on; those that were held."""
    undecided = [n for n in numbers if t.connection.execute(UNDECIDED, (n,)).fetchone()]
    return {one.id for one in hold(t, undecided, "in_doubt")}


def let_die(t: Transaction, numbers: Iterable[int], reason: str) -> list[Delivery]:
    """End the waiting of deliveries that flow and can no longer be sent in time."""
    return _each(t, numbers, (DeliveryState.QUEUED, DeliveryState.IN_DOUBT), DeliveryState.DEAD, reason)


def take_back(t: Transaction, numbers: Iterable[int]) -> int:
    """Let deliveries flow again whose destination has returned; what was in doubt when it went still is."""
    changed = 0
    for number in numbers:
        found = backlog.delivery(t.connection, number)
        if found is not None and found.state is DeliveryState.HELD:
            state = DeliveryState.IN_DOUBT if _may_have_arrived(t, found) else DeliveryState.QUEUED
            _set(t, found, state, "destination_returned", found.attempts)
            t.event(found.organization, "released", number, "destination_returned", ENGINE)
            changed += 1
    return changed


OPEN_DOUBT = (
    "SELECT 1 FROM attempt WHERE delivery = ? AND (outcome IS NULL OR outcome IN ('ambiguous', 'taken'))"
    " AND id > coalesce((SELECT max(id) FROM attempt WHERE delivery = ? AND outcome = 'permanent'), 0)"
)


def _may_have_arrived(t: Transaction, found: Delivery) -> bool:
    """An attempt had no certain answer, and no later one was refused for good: then the same bytes must go out."""
    return t.connection.execute(OPEN_DOUBT, (found.id, found.id)).fetchone() is not None


def _each(
    t: Transaction, numbers: Iterable[int], states: tuple[DeliveryState, ...], state: DeliveryState, reason: str
) -> list[Delivery]:
    """Change those that still stand in one of `states`; the others have moved on and are left alone."""
    changed = []
    for number in numbers:
        t.ledger.lock(number)
        found = backlog.delivery(t.connection, number)
        if found is not None and found.state in states:
            _set(t, found, state, reason, found.attempts)
            t.event(found.organization, state.value, number, reason, ENGINE)
            changed.append(found)
    return changed


def _change(
    t: Transaction, number: int, states: tuple[DeliveryState, ...], state: DeliveryState, reason: str
) -> Delivery:
    found = _wanted(t, number, states)
    _set(t, found, state, reason, 0)
    return found


def _wanted(t: Transaction, number: int, states: tuple[DeliveryState, ...]) -> Delivery:
    """The delivery, which this commit alone can change from here on, in one of the states that the act is for."""
    t.ledger.lock(number)
    found = backlog.delivery(t.connection, number)
    if found is None or found.state not in states:
        raise _not_so(t, DELIVERY_STATE, number, " or ".join(states))
    return found


def _set(t: Transaction, found: Delivery, state: DeliveryState, reason: str, attempts: int) -> None:
    t.ledger.touched(t, found)
    t.connection.execute(TO_STATE, (state.value, OPEN[state], reason, attempts, _now(t), found.id))
    found.state, found.attempts, found.next_at = state, attempts, 0


def _delivery(t: Transaction, number: int) -> Delivery:
    found = backlog.delivery(t.connection, number)
    if found is None:
        raise NotFound(f"no delivery {show_id(number)}")
    return found


def _not_so(t: Transaction, query: str, number: int, wanted: str) -> NotFound | Conflict:
    row = t.connection.execute(query, (number,)).fetchone()
    if row is None:
        return NotFound(f"nothing here has the id {show_id(number)}", advice="Look for it with `interlock search`.")
    return Conflict(f"{show_id(number)} is {row[0]}; this needs {wanted}")


def _now(t: Transaction) -> int:
    return t.ledger.clock.now()
