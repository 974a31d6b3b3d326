"""Messages over HTTP: a source that listens for POST, a destination that posts.

The destination counts a message as taken only by a whole answer of class 2xx that an interface gave; an answer that is
itself an HL7 acknowledgement must also be a positive one for this message.
"""

from __future__ import annotations

from engine.connectors.http_answers import HL7_TYPES
from engine.connectors.http_caller import KNOBS as DESTINATION_KNOBS
from engine.connectors.http_caller import Caller
from engine.connectors.http_link import Reply
from engine.connectors.http_source import SOURCE_KNOBS, source
from engine.errors import Weight
from engine.formats.hl7v2_ack import judge
from engine.model import Outcome
from engine.ports import Destination, Sending
from engine.wiring import DestinationSpec

__all__ = ["DESTINATION_KNOBS", "SOURCE_KNOBS", "HttpDestination", "destination", "source"]


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination of http(s)://host:port/path. Raises `Configuration`."""
    return HttpDestination(channel, spec)


class HttpDestination:
    """POSTs each payload to one URL, with the delivery's id as Idempotency-Key."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        self._caller = Caller(channel, spec, "*/*")

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One POST. 202 is taken at the level "commit", any other 2xx at "application"."""
        reply = await self._caller.post(payload, sending, sending.content_type)
        if isinstance(reply, Outcome):
            return reply
        outcome = self._caller.judge(reply)
        return _judge_hl7(payload, reply, outcome) if reply.content_type.decode("latin-1") in HL7_TYPES else outcome

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """HTTP itself has no such question: None."""
        return None

    async def test(self) -> str:
        """Connect without sending a request."""
        return await self._caller.reach()

    async def close(self) -> None:
        """Close every connection; what is outstanding is in doubt."""
        self._caller.close()


def _judge_hl7(payload: bytes, reply: Reply, outcome: Outcome) -> Outcome:
    """HL7 over HTTP: a positive status counts only with a positive acknowledgement; a plain refusal beats a status."""
    acknowledged = judge(payload, reply.body)
    if outcome.taken or acknowledged.weight in {Weight.TRANSIENT, Weight.PERMANENT}:
        return acknowledged
    return outcome
