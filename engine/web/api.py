"""The routes of the HTTP API, and what each asks of the runtime.

Invariant: an address names ids, channels, states and times only: what identifies a patient comes in a body, because
addresses end up in histories and in the logs of whatever stands between.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.tally import Tally
from engine.web.messages import Messages
from engine.web.openapi import document
from engine.web.probes import Probed, Probes

Served = Probed
"""What the web side asks of the runtime."""


def routes(runtime: Served) -> list[Route]:
    """Every route there is. Those in `access.OPEN` need no token, all others do."""
    tally = Tally(runtime.store)
    probes, messages = Probes(runtime, tally), Messages(runtime.store)
    described: dict[str, Any] = document()

    async def channels(request: Request) -> Response:
        return JSONResponse({"channels": await tally.channels(runtime.report())})

    async def openapi(request: Request) -> Response:
        return JSONResponse(described)

    return [
        Route("/healthz", probes.health),
        Route("/readyz", probes.readiness),
        Route("/metrics", probes.metrics),
        Route("/openapi.json", openapi),
        Route("/v1/channels", channels),
        Route("/v1/messages", messages.list),
        Route("/v1/messages/search", messages.search, methods=["POST"]),
        Route("/v1/messages/{id}", messages.trace),
    ]
