"""What the receive half writes down: a message as routed, held or refused, and the answer for each.

Invariant: a refused message leaves time, channel, size and a keyed hash; a held one leaves its bytes.
"""

from __future__ import annotations

from engine.errors import InterlockError, Refused, Reply, Weight
from engine.model import Answer, Arrival, DeliveryState, Identity, MessageState, Receipt, Route, Verdict
from engine.ports import Running


def routed(
    raw: bytes, arrival: Arrival, number: int, identity: Identity, routes: tuple[Route, ...], running: Running
) -> Receipt:
    """A message that may go on: accepted, or filtered when no destination wanted it."""
    channel = running.channel
    wanted = any(route.state is DeliveryState.QUEUED for route in routes)
    return Receipt(
        number,
        channel.name,
        channel.owner,
        arrival.at,
        raw,
        len(raw),
        MessageState.ACCEPTED if wanted else MessageState.FILTERED,
        Verdict(Reply.ACCEPT, message=number, at=arrival.at),
        identity,
        running.format.canonical(raw),
        routes,
        channel.revision,
        0 if identity.restates and not identity.control_id else channel.duplicates_within,
        channel.source.control_id == "strict",
    )


def held(
    raw: bytes, arrival: Arrival, number: int, identity: Identity | None, error: InterlockError, running: Running
) -> Receipt:
    """A message that was admitted and must not go on: stored and held, once for the same bytes.

    One that cannot be read is answered negatively; one that a site's own rule could not route is ours from now on.
    """
    channel = running.channel
    verdict = Verdict(error.reply, error.code, error.text, error.where, message=number, at=arrival.at)
    return Receipt(
        number, channel.name, channel.owner, arrival.at, raw, len(raw), MessageState.HELD, verdict,
        identity, canonical=raw, revision=channel.revision, window=channel.duplicates_within,
    )  # fmt: skip


def refused(raw: bytes, arrival: Arrival, number: int, error: Refused, running: Running) -> Receipt:
    """A message that is not taken: the fact is kept, not the bytes."""
    channel = running.channel
    transient = error.weight is Weight.TRANSIENT
    verdict = Verdict(error.reply, error.code, error.text, error.where, transient, number, arrival.at)
    return Receipt(
        number, channel.name, channel.owner, arrival.at, b"", len(raw), MessageState.REFUSED, verdict,
        canonical=raw, revision=channel.revision,
    )  # fmt: skip


def unkept(error: InterlockError, arrival: Arrival) -> Verdict:
    """The verdict when nothing could be made durable: negative; the sender should try again where that can help."""
    transient = error.weight is Weight.TRANSIENT
    return Verdict(Reply.ERROR, error.code, error.text, transient=transient, at=arrival.at)


def answer(verdict: Verdict, identity: Identity | None, raw: bytes, running: Running) -> Answer:
    """The verdict in the words of the message's format."""
    return Answer(verdict, running.format.answer(identity, raw, verdict))
