"""What the control socket carries out: one handler a command, arguments checked, everything recorded with its actor.

Invariant: a command that changes the store does the same through a server and without one: `store_handlers` are both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from engine.channels.faults import errors
from engine.channels.site import Changes, Site
from engine.errors import Configuration, Conflict, NotFound
from engine.lane import stands_still
from engine.model import Answer, Arrival, Delivery, Kept, Receipt, show_id
from engine.organizations.directory import SITE
from engine.pipeline import accept
from engine.ports import Ports, Running, Store
from engine.registry import CONTROL_GROUP, plugins
from engine.store import acts, backlog
from engine.store.committing import CommittingStore
from engine.store.standing import State
from engine.tally import Tally
from engine.worker import Worker

Handler = Callable[[Mapping[str, Any], str], Awaitable[Any]]
"""Carries out one command: its arguments and who asks; returns what JSON can hold.

Packages add theirs by entry points of `CONTROL_GROUP`: each a function `(hands: Hands) -> dict[str, Handler]`.
"""

MOST_HEADS = 10_000
"""Lanes looked at for the one to skip."""

_STATES: Mapping[str, State] = {"started": "started", "paused": "paused", "stopped": "stopped"}


@dataclass(frozen=True, slots=True)
class Hands:
    """What a command may reach for. Without a server nothing waits in memory, and no message can enter the path."""

    store: CommittingStore
    unblock: Callable[[Delivery], None]
    accept_again: Callable[[bytes, str, int], Awaitable[Answer]]


class Commanded(Protocol):
    """What the commands ask of the runtime."""

    store: CommittingStore
    worker: Worker
    ports: Ports

    @property
    def site(self) -> Site:
        """The folder of channels as it was last taken."""
        ...

    @property
    def channels(self) -> Mapping[str, Running]:
        """The running channels by name."""
        ...

    async def reload(self) -> Changes:
        """Take the folder of channels as it is now."""
        ...

    async def set_state(self, channel: str, destination: str, state: State, reason: str, actor: str) -> None:
        """Start, pause or stop a channel or a destination."""
        ...

    def report(self) -> list[dict[str, Any]]:
        """What every channel is doing."""
        ...


def handlers(runtime: Commanded) -> dict[str, Handler]:
    """Every command of a running server, by name."""
    tally = Tally(runtime.store)
    hands = Hands(runtime.store, runtime.worker.unblock, _again(runtime))

    async def reload(arguments: Mapping[str, Any], actor: str) -> Any:
        changes = await runtime.reload()
        faults = runtime.site.faults
        names = {word: list(getattr(changes, word)) for word in ("added", "changed", "removed", "kept")}
        return {**names, "faults": [str(fault) for fault in faults], "errors": len(errors(faults))}

    async def channel(arguments: Mapping[str, Any], actor: str) -> Any:
        wanted = _wanted(arguments)
        await runtime.set_state(*wanted, actor)
        return _state_said(*wanted)

    async def report(arguments: Mapping[str, Any], actor: str) -> Any:
        return {"channels": await tally.channels(runtime.report())}

    return {**common_handlers(hands), "reload": reload, "channel": channel, "report": report}


def store_handlers(
    store: CommittingStore, unblock: Callable[[Delivery], None] = lambda delivery: None
) -> dict[str, Handler]:
    """The commands that work without a server, on a store that was opened for one of them."""
    return common_handlers(Hands(store, unblock, _no_server))


def common_handlers(hands: Hands) -> dict[str, Handler]:
    """The commands that do the same with a server and without one, those of installed packages included."""
    store = hands.store

    async def channel(arguments: Mapping[str, Any], actor: str) -> Any:
        wanted = _wanted(arguments)
        await store.act(lambda t: acts.set_channel_state(t, *wanted, actor, SITE))
        return _state_said(*wanted)

    async def skip(arguments: Mapping[str, Any], actor: str) -> Any:
        reason = text(arguments, "reason")
        if not reason.strip():
            raise Configuration("skipping a delivery: it needs a reason", code="malformed")
        number = await _head(store, arguments)
        delivery = await store.act(lambda t: acts.end_delivery(t, number, reason, actor))
        hands.unblock(delivery)
        return {"delivery": show_id(delivery.id), "message": show_id(delivery.message), "reason": reason}

    added = {name: run for point in plugins(CONTROL_GROUP).values() for name, run in point.load()(hands).items()}
    return {**added, "channel": channel, "skip": skip}


def _again(runtime: Commanded) -> Callable[[bytes, str, int], Awaitable[Answer]]:
    """How a kept message enters the path once more: as any other, but its receipt names the one it replaces."""

    async def accept_again(raw: bytes, channel: str, original: int) -> Answer:
        running = runtime.channels.get(channel)
        if running is None:
            raise NotFound("replaying a message: its channel does not run", advice="Bring the channel back first.")
        ports = replace(runtime.ports, store=cast(Store, _Successor(runtime.store, original)))
        return await accept(raw, Arrival(channel, runtime.store.now(), note="replay"), running, ports)

    return accept_again


class _Successor:
    """The store, for one message that replaces another."""

    def __init__(self, store: CommittingStore, original: int) -> None:
        self._store = store
        self._original = original

    async def keep(self, receipt: Receipt) -> Kept:
        return await self._store.keep(replace(receipt, original=self._original))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def _no_server(raw: bytes, channel: str, original: int) -> Answer:
    raise NotFound(
        "replaying a message: only a running server can take it", code="no_server", advice="Start `interlock serve`."
    )


async def _head(store: CommittingStore, arguments: Mapping[str, Any]) -> int:
    """The delivery to skip: the one named, if it heads its lane, else the only head that waits for a person."""
    channel, destination = text(arguments, "channel"), text(arguments, "destination")
    heads = await store.read(lambda connection: backlog.heads(connection, channel, destination, MOST_HEADS))
    named = text(arguments, "delivery")
    found = [d for d in heads if (show_id(d.id) == named.lower() if named else stands_still(d.state))]
    if len(found) == 1:
        return found[0].id
    if named or not found:
        raise NotFound(
            "skipping a delivery: no such delivery stands at the head of a lane there",
            advice="`interlock deadletter list` shows what waits for a person.",
        )
    some = ", ".join(show_id(d.id) for d in found[:5])
    raise Conflict(
        f"skipping a delivery: {len(found)} lanes stand, headed by {some}", advice="Name one with --delivery."
    )


def _wanted(arguments: Mapping[str, Any]) -> tuple[str, str, State, str]:
    """Channel, destination, state and reason of a command."""
    state = _STATES.get(text(arguments, "state"))
    if state is None:
        raise Configuration("reading a command: state is not started, paused or stopped", code="malformed")
    return text(arguments, "channel"), text(arguments, "destination"), state, text(arguments, "reason")


def _state_said(channel: str, destination: str, state: State, reason: str) -> dict[str, str]:
    return {"channel": channel, "destination": destination, "state": state, "reason": reason}


def text(arguments: Mapping[str, Any], name: str) -> str:
    """An argument that is a text; "" where it was not given.

    Raises:
        Configuration: when it is something else.
    """
    value = arguments.get(name, "")
    if not isinstance(value, str):
        raise Configuration(f"reading a command: {name} is not a text", code="malformed")
    return value
