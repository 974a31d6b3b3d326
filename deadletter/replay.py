"""Sends on what stood still: a delivery from its place in its lane, a held message through the whole path again.

Invariant: what is replayed keeps its lineage, its actor and its reason, and is replayed once: the commit that keeps a
message's successor ends the message, and a second one finds nothing to end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from engine.errors import Conflict, NotFound
from engine.model import Answer, Delivery, MessageState, show_id
from engine.store import acts, queries
from engine.store.committing import CommittingStore

AcceptAgain = Callable[[bytes, str, int], Awaitable[Answer]]
"""`accept` for stored bytes: (raw, channel, the message that they replace: its receipt's `original`)."""

Unblock = Callable[[Delivery], None]
"""The worker's `unblock`: a delivery no longer blocks its lane; a queued one goes on from its place."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay led to. `message` is a held message's successor, `delivery` the one that goes on."""

    id: int
    code: str
    message: int = 0
    delivery: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        ids = {name: show_id(value) if value else None for name, value in asdict(self).items() if name != "code"}
        return {**ids, "code": self.code}


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replays for one person. `accept_again` and `unblock` come from the running engine, or do nothing without one."""

    store: CommittingStore
    accept_again: AcceptAgain
    unblock: Unblock
    actor: str

    async def replay(self, number: int, reason: str) -> Replayed:
        """Replay a held message, or a held or dead delivery, by its id.

        Raises:
            NotFound, Conflict: nothing has this id, or it does not stand still.
        """
        if await self.store.read(lambda c: queries.delivery(c, number)) is not None:
            return await self._delivery(number, reason)
        return await self._message(number, reason)

    async def resend(self, number: int, reason: str) -> Replayed:
        """Send a delivered delivery once more, as a new one at the end of its lane.

        Raises:
            NotFound, Conflict: there is no such delivery, or it has not been delivered.
        """
        new = self.store.ids.next()
        delivery = await self.store.act(lambda t: acts.resend_delivery(t, number, new, reason, self.actor))
        self.unblock(delivery)
        return Replayed(number, "resent", delivery=delivery.id)

    async def end(self, number: int, reason: str) -> None:
        """Close a held message, or a delivery that waits or stands still, for good.

        Raises:
            NotFound, Conflict: nothing has this id, or it has ended.
        """
        if await self.store.read(lambda c: queries.delivery(c, number)) is None:
            await self.store.act(lambda t: acts.end_message(t, number, reason, self.actor))
        else:
            self.unblock(await self.store.act(lambda t: acts.end_delivery(t, number, reason, self.actor)))

    async def _delivery(self, number: int, reason: str) -> Replayed:
        delivery = await self.store.act(lambda t: acts.replay_delivery(t, number, reason, self.actor))
        self.unblock(delivery)
        return Replayed(number, "replayed", delivery=number)

    async def _message(self, number: int, reason: str) -> Replayed:
        held = await self.store.act(lambda t: acts.request_replay(t, number, reason, self.actor))
        raw = await self.store.load(held.organization, number)
        answer = await self.accept_again(raw, held.channel, number)
        verdict = answer.verdict
        before = await self.store.read(lambda c: queries.message(c, number))
        if before is None:
            raise NotFound(f"nothing here has the id {show_id(number)}")
        if before.state == MessageState.HELD:
            raise Conflict(f"the message was not taken again: {verdict.text}", code=verdict.code)
        if verdict.code == Conflict.code:
            raise Conflict(verdict.text)
        return Replayed(number, verdict.code, message=verdict.message)
