"""What the server carries out for `interlock deadletter`: replay, resend, end and close, with who asked and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deadletter.replay import Replayer
from engine.errors import Configuration
from engine.handlers import Handler, Hands, text
from engine.model import read_id
from engine.store import acts


def handlers(hands: Hands) -> dict[str, Handler]:
    """The entry point of `interlock.control`."""

    def replayer(actor: str) -> Replayer:
        return Replayer(hands.store, hands.accept_again, hands.unblock, actor)

    async def replay(arguments: Mapping[str, Any], actor: str) -> Any:
        return (await replayer(actor).replay(*_wanted(arguments))).as_dict()

    async def resend(arguments: Mapping[str, Any], actor: str) -> Any:
        return (await replayer(actor).resend(*_wanted(arguments))).as_dict()

    async def end(arguments: Mapping[str, Any], actor: str) -> Any:
        await replayer(actor).end(*_wanted(arguments))
        return {"id": arguments["id"], "code": "ended"}

    async def close(arguments: Mapping[str, Any], actor: str) -> Any:
        number, reason = _wanted(arguments)
        await hands.store.act(lambda t: acts.close_item(t, number, reason, actor))
        return {"id": arguments["id"], "code": "closed"}

    named = {"replay": replay, "resend": resend, "end": end, "close": close}
    return {f"deadletter.{name}": handler for name, handler in named.items()}


def _wanted(arguments: Mapping[str, Any]) -> tuple[int, str]:
    """The id and the reason of a command."""
    reason = text(arguments, "reason")
    if not reason.strip():
        raise Configuration("reading a command: it needs a reason", code="malformed")
    try:
        return read_id(text(arguments, "id")), reason
    except ValueError as error:
        raise Configuration(f"reading the id: {error}", code="malformed") from None
