"""HL7 v2 as one of the engine's formats.

Every method is a pure function of the bytes; none keeps anything between messages.
"""

from __future__ import annotations

import engine.formats.hl7v2_ack as hl7v2_ack
from engine.formats.hl7v2.batch import split_batch
from engine.formats.hl7v2.canonical import canonical
from engine.formats.hl7v2.identity import identify
from engine.formats.hl7v2.message import Message, read
from engine.model import Identity, Verdict

_BEFORE = b"\xef\xbb\xbf\x0b\r\n \t\x00"


class Hl7v2:
    """The format port (`engine.ports.Format`) for HL7 v2 in its bar-and-caret encoding."""

    kind = "hl7v2"

    def sniff(self, raw: bytes) -> bool:
        """True when the bytes begin like a message, a batch or a file of HL7 v2."""
        start = raw[:64].lstrip(_BEFORE)[:4]
        return start[:3] in (b"MSH", b"FHS", b"BHS") and len(start) == 4 and not start[3:].isalnum()

    def split(self, raw: bytes) -> list[bytes]:
        """The messages in what came over a wire: one as a rule, several in a batch. Raises `Unreadable`."""
        if raw.startswith(b"MSH") and raw.find(b"\rMSH", 3) < 0 and raw.find(b"\nMSH", 3) < 0:
            return [raw]
        return split_batch(raw)

    def read(self, raw: bytes) -> Message:
        """Parse. Raises `Unreadable`."""
        return read(raw)

    def identify(self, raw: bytes) -> Identity:
        """Routing keys and facts in microseconds. Raises `Unreadable`."""
        return identify(raw)

    def canonical(self, raw: bytes) -> bytes:
        """The bytes whose hash says whether two messages have the same content. Raises `Unreadable`."""
        return canonical(raw)

    def answer(self, identity: Identity | None, raw: bytes, verdict: Verdict) -> bytes | None:
        """The acknowledgement, or None where the sender wants none. Never raises."""
        return hl7v2_ack.acknowledge(identity, raw, verdict)
