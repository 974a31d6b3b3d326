"""The verdict on a control id that has been seen: pure; the store applies it inside the commit that keeps a message.

Invariant: only the same content within the window is a duplicate. Whatever differs is kept and delivered, unless its
sender is declared strict. The rows on business keys (a new control id with equal content) are not judged here yet:
such a message is delivered, which is the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """How a received message stands to what was received before."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the stored answer again, nothing delivered
    REUSED = "control_id_reused"  # delivered on its content and flagged
    CONFLICT = "control_id_conflict"  # a strict sender: refused, nothing kept for delivery


@dataclass(frozen=True, slots=True)
class Seen:
    """An earlier message under the same control key, and what was answered."""

    message: int
    reply: str
    code: str


def judge(content: bytes, seen: Mapping[bytes, Seen] | None, strict: bool) -> tuple[Standing, Seen | None]:
    """Judge a content hash against those seen under its control key within the window."""
    if not seen:
        return Standing.NEW, None
    earlier = seen.get(content)
    if earlier is not None:
        return Standing.DUPLICATE, earlier
    return (Standing.CONFLICT if strict else Standing.REUSED), None
