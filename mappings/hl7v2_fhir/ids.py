"""Stable ids: the same order, test and patient get the same id from every message, so that a correction updates.

An id is a UUID over what names the thing (authority, number, code), never over a message id, a position or a value:
a replay writes the same resources again, and no id or URL shows a patient's number.
"""

from __future__ import annotations

from hashlib import blake2b

#: Between the parts of a name: a control character, which no decoded field holds.
JOIN = "\x1f"


def stable(*parts: str) -> str:
    """The id of what these parts name: a UUID of version 8 (RFC 9562) over their BLAKE2b hash."""
    h = blake2b(JOIN.join(parts).encode(), digest_size=16).hexdigest()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-a{h[17:20]}-{h[20:]}"


class Scope:
    """The ids of things that one name holds many of, such as an order its results.

    The common part of the names is hashed once. A name that is there again is told apart by how often it was.
    """

    __slots__ = ("_counts", "_hash")

    def __init__(self, *parts: str) -> None:
        self._hash = blake2b(JOIN.join((*parts, "")).encode(), digest_size=16)
        self._counts: dict[bytes, int] = {}

    def stable(self, name: bytes) -> str:
        """The next id of this name, as `named` gives it."""
        counts = self._counts
        count = counts.get(name, 0)
        counts[name] = count + 1
        whole = self._hash.copy()
        whole.update(b"%b%d" % (name, count) if count else name + b"0")
        h = whole.hexdigest()
        return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-a{h[17:20]}-{h[20:]}"  # as `stable`, of which this is the busiest part


def named(*parts: str) -> bytes:
    """The name of one thing in a scope."""
    return JOIN.join((*parts, "")).encode()
