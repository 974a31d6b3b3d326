"""From a source to the path: a batch is taken apart first, every message of it goes its own way.

Invariant: a batch that is empty, or whose counts do not agree, is one unreadable message; a batch that was cut by a
crash is completed by sending it again, for what was kept of it is a duplicate.
"""

from __future__ import annotations

from collections.abc import Awaitable

from engine.errors import Unreadable
from engine.model import Answer, Arrival
from engine.pipeline import accept
from engine.ports import Ports, Running


def take(raw: bytes, arrival: Arrival, running: Running, ports: Ports) -> Awaitable[Answer]:
    """Accept one message, or each message of a batch."""
    try:
        messages = running.format.split(raw) or [raw]
    except Unreadable:
        messages = [raw]  # as with an empty batch: accept says what is wrong with it, and holds it
    if len(messages) == 1:
        return accept(messages[0], arrival, running, ports)
    return _take_all(messages, arrival, running, ports)


async def _take_all(messages: list[bytes], arrival: Arrival, running: Running, ports: Ports) -> Answer:
    """One answer for a batch: every message's own, negative when any is, for then it must come again.

    The negative ones come first: a sender that reads one answer of many must not read that all was taken.
    """
    answers = [await accept(message, arrival, running, ports) for message in messages]
    answers.sort(key=lambda answer: answer.positive)  # stable: the order of the messages otherwise
    payloads = [answer.payload for answer in answers if answer.payload is not None]
    return Answer(answers[0].verdict, b"".join(payloads) if payloads else None)
