"""What a load balancer and a monitor ask: is the process there, may it be sent messages, what does it count.

Invariant: `/healthz` and `/readyz` need no token, so they name nothing: reasons are codes, and how often they make the
engine work is bounded. `/readyz` says 200 only when a write to the store has just been durable; on a disk that is
nearly full one of a message's size, for a few bytes may find room where no message does.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine import __version__
from engine.errors import InterlockError
from engine.model import DeliveryState, MessageState
from engine.ports import Ports
from engine.settings import Settings
from engine.store import sql
from engine.store.committing import CommittingStore
from engine.tally import Tally
from engine.web.metrics import CONTENT_TYPE, Gauges, Waiting, render

PROBE_SECONDS = 1.0
"""A store that was written to so recently is not written to again to find out whether it can be."""
WRITE_WITHIN_SECONDS = 5.0
NEARLY_FULL_BYTES = 32 << 20
"""Below so much free disk a small write proves nothing of a message."""
MESSAGE_BYTES = 64 << 10
"""What is then written and taken away again: a large message, and too small to fill the disk itself."""
_OPEN_STATES = tuple(s for s in DeliveryState if s not in ("filtered", "ended", "delivered"))


class Probed(Protocol):
    """What the probes ask of the runtime."""

    settings: Settings
    ready: bool
    ports: Ports
    store: CommittingStore

    def report(self) -> list[dict[str, Any]]:
        """What every channel is doing."""
        ...


class Probes:
    """The three answers of one runtime."""

    def __init__(self, runtime: Probed, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._tally = tally
        self._clock = clock
        self._takes = runtime.settings.role in ("all", "ingress")  # the others listen nowhere
        self._probing = asyncio.Lock()
        self._written = False
        self._stands_until = 0.0

    async def health(self, request: Request) -> Response:
        """The process answers. Nothing else is meant by it."""
        return JSONResponse({"status": "ok", "version": __version__})

    async def readiness(self, request: Request) -> Response:
        """200 when messages may be sent here; else 503 with the reasons as codes."""
        reasons = [*self._reasons(), *([] if await self._writes() else ["store_not_writable"])]
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(self, request: Request) -> Response:
        """Counters and gauges in Prometheus' text format."""
        counted = await self._tally.counted()
        now, balance = self._runtime.store.now(), counted.balance
        waiting = [
            Waiting(
                d.channel,
                d.destination,
                {state.value: d.states[state] for state in _OPEN_STATES},
                max(0.0, (now - counted.oldest.get((d.channel, d.destination), now)) / 1e6),
            )
            for d in balance.destinations
        ]
        gap = {c.channel: abs(c.unaccounted) for c in balance.channels}
        for d in balance.destinations:
            gap[d.channel] = gap.get(d.channel, 0) + abs(d.unaccounted)
        held = {c.channel: c.states[MessageState.HELD] for c in balance.channels}
        free = shutil.disk_usage(self._runtime.settings.data).free
        return Response(render(Gauges(waiting, held, gap, free, self._runtime.ready)), media_type=CONTENT_TYPE)

    def _reasons(self) -> Iterator[str]:
        if not self._runtime.ready:
            yield "not_serving"  # starting or stopping
        if not self._runtime.ports.room:
            yield "disk_below_reserve"
        report = self._runtime.report()
        if self._takes and any(channel.get("state") == "started" and not channel.get("address") for channel in report):
            yield "channel_not_up"

    async def _writes(self) -> bool:
        """Whether the store takes a durable write now; asked again at most once a second."""
        async with self._probing:
            if self._clock() >= self._stands_until:
                self._written = await self._write()
                self._stands_until = self._clock() + PROBE_SECONDS
            return self._written

    async def _write(self) -> bool:
        try:
            async with asyncio.timeout(WRITE_WITHIN_SECONDS):
                if self._nearly_full():
                    await self._mark("probed_room", secrets.token_hex(MESSAGE_BYTES // 2))
                    await self._mark("probed_room", "")
                await self._mark("probed_at", str(self._runtime.store.now()))
        except (InterlockError, TimeoutError):
            return False
        return True

    async def _mark(self, name: str, value: str) -> None:
        await self._runtime.store.act(lambda t: t.connection.execute(sql.SET_SITE, (name, value)).rowcount)

    def _nearly_full(self) -> bool:
        try:
            free = shutil.disk_usage(self._runtime.settings.data).free
        except OSError:  # the disk does not say: the write will
            return True
        return free < NEARLY_FULL_BYTES
