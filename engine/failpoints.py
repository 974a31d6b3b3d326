"""Named points at which a test may kill the process, to prove what a crash leaves behind.

Every store commit, socket write, fsync and rename has one before and one after it; their names are literals, so that a
test finds them all and kills at each. `INTERLOCK_FAILPOINT=name:n` makes the n-th pass of that point end the process
with SIGKILL; without it a point costs one function call and does nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

VARIABLE = "INTERLOCK_FAILPOINT"


def _read(text: str) -> tuple[str, int]:
    name, _, count = text.partition(":")
    return name, int(count or 1)


_name, _left = _read(os.environ.get(VARIABLE, ""))

armed = bool(_name)
"""True when some point will fire in this process."""


def failpoint(name: str) -> None:
    """End the process here when this point is the armed one and this is its n-th pass."""
    if armed and name == _name:
        _pass()


def failpoints(names: Iterable[str]) -> None:
    """Pass several points at once: those of all the kinds that share a commit."""
    if armed:
        for name in names:
            failpoint(name)


def half(name: str) -> bool:
    """True when this point is the armed one: the caller then writes half of its bytes before it passes the point."""
    return armed and name == _name


def _pass() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
