"""Large messages: what takes long over one is done in a thread, so that nobody waits behind it.

Invariant: the work handed over here is pure: it touches nothing that the loop's thread changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LARGE_BYTES = 256 * 1024
"""Above this a message is read, hashed, converted, compressed and sealed in a thread."""

P = ParamSpec("P")
T = TypeVar("T")


async def beside(size: int, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Do pure work over so many bytes: here and at once, or in a thread where they are many."""
    if size <= LARGE_BYTES:
        return work(*args, **more)
    return await asyncio.to_thread(work, *args, **more)
