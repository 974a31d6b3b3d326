"""The system's clock behind the Clock port."""

from __future__ import annotations

import time


class SystemClock:
    """Microseconds since 1970, UTC."""

    __slots__ = ()

    def now(self) -> int:
        """Now, in microseconds."""
        return time.time_ns() // 1000
