"""The listener of a channel for fhir+http(s)://: a FHIR server that takes and keeps, and shows nothing.

It takes create, update, their conditional forms, transaction, batch and $process-message. What the head of a request
says is judged before its body is read, and every refusal is an OperationOutcome.
"""

from __future__ import annotations

import re

from engine.connectors.fhir_answers import FHIR_JSON, refusal, respond
from engine.connectors.fhir_capability import capability
from engine.connectors.fhir_requests import Interaction, Refusal, interaction, message_of, negotiated
from engine.connectors.http_connection import Request, Response
from engine.connectors.http_source import SOURCE_KNOBS, HttpSource
from engine.large import beside
from engine.ports import Clock, Source
from engine.wiring import SourceSpec

__all__ = ["SOURCE_KNOBS", "FhirSource", "source"]

_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")


def source(channel: str, spec: SourceSpec) -> Source:
    """The source of fhir+http(s)://host:port/base. Raises `Configuration`."""
    return FhirSource(channel, spec)


class FhirSource(HttpSource):
    """One base; the message of a request goes the channel's path before it is answered."""

    schemes = frozenset({"fhir+http", "fhir+https"})

    def __init__(self, channel: str, spec: SourceSpec, clock: Clock | None = None) -> None:
        super().__init__(channel, spec, clock)
        self._version = spec.fhir_version
        self._statement = capability(spec.fhir_version, spec.accept)

    def _judge(self, request: Request) -> Response | None:
        asked = self._asked(request)
        refused = asked if isinstance(asked, Refusal) else negotiated(request, self._version)
        return self._refused(refused) if refused else None

    def _asked(self, request: Request) -> Interaction | Refusal:
        return interaction(request.method, self._below(request.path), request.query)

    async def _handle(self, request: Request) -> Response:
        asked = self._asked(request)
        if isinstance(asked, Refusal):  # the gate has judged it: this cannot be
            return self._refused(asked)
        if asked.name == "metadata":
            return Response(200, self._statement, FHIR_JSON)
        raw = await beside(len(request.body), message_of, asked, request)
        if isinstance(raw, Refusal):
            return self._refused(raw)
        return respond(await self._take(raw, request.peer), asked, request, self._base(request))

    def _base(self, request: Request) -> str:
        """The base as the sender reached it; the path alone where its Host is none."""
        host = request.headers.get(b"host", b"").decode("latin-1")
        origin = f"{self._scheme.removeprefix('fhir+')}://{host}" if _HOST.fullmatch(host) else ""
        return origin + self._path.rstrip("/")

    def _refused(self, refused: Refusal) -> Response:
        self._count(refused.code)
        return refusal(refused)

    def _refuse(self, status: int, code: str) -> Response:
        return self._refused(Refusal(status, code))
