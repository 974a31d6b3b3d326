"""Messages over HTTP: found by what may stand in an address, by a patient only in a body, and traced one by one.

Invariant: parameters that are not on the list are refused with the list; a body is read up to its limit and no further.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.errors import Configuration, NotFound
from engine.model import read_id
from engine.search import search
from engine.search_terms import TERMS, read_terms
from engine.store.committing import CommittingStore
from engine.trace import trace

MOST_BODY_BYTES = 64 * 1024
ADDRESS_TERMS = tuple(term for term in TERMS if term != "patient")
"""What `GET /v1/messages` takes; `POST /v1/messages/search` takes `patient` as well."""
PAYLOADS = "payloads"


class Messages:
    """The three answers about messages of one store."""

    def __init__(self, store: CommittingStore) -> None:
        self._store = store

    async def list(self, request: Request) -> Response:
        """Messages by the terms in the address, newest first."""
        return await self._search(_once(request, ADDRESS_TERMS), ADDRESS_TERMS)

    async def search(self, request: Request) -> Response:
        """Messages by the terms in the body: the same, and a patient's identifier."""
        _once(request, ())
        return await self._search(_texts(await _body(request)), TERMS)

    async def trace(self, request: Request) -> Response:
        """Everything about one message; `?payloads=false` leaves every sealed value closed."""
        given = _once(request, (PAYLOADS,))
        if given.get(PAYLOADS, "true") not in ("true", "false"):
            raise Configuration('reading "payloads": it is neither true nor false', code="term")
        opener = None if given.get(PAYLOADS) == "false" else self._store
        try:
            number = read_id(request.path_params["id"])
        except ValueError as error:
            raise NotFound(f"reading the id: {error}") from None
        found = await self._store.read(lambda connection: trace(connection, opener, number))
        return Response(orjson.dumps(found.as_dict()), media_type="application/json")

    async def _search(self, given: Mapping[str, str], allowed: tuple[str, ...]) -> Response:
        now = self._store.now()
        wanted = read_terms(given, allowed, now)
        found = await self._store.read(lambda connection: search(connection, self._store, wanted, now))
        return JSONResponse(found.as_dict())


def _once(request: Request, allowed: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters, each known and there once."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            listed = f"It takes {', '.join(allowed)}." if allowed else "It takes none."
            hint = " Send a patient's identifier in the body of POST /v1/messages/search." if name == "patient" else ""
            raise Configuration("reading the address: a parameter is not known", code="term", advice=listed + hint)
        if name in given:
            raise Configuration(f'reading the address: "{name}" is there more than once', code="term")
        given[name] = value
    return given


async def _body(request: Request) -> bytes:
    """The whole body, up to its limit."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise HTTPException(413, "the body is too large", {"Connection": "close"})
    return body


def _texts(body: bytes) -> dict[str, str]:
    """A JSON object of texts; a number is taken for a limit."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not all(isinstance(v, str | int) for v in document.values()):
        raise Configuration(
            "reading the body: it is no JSON object of texts",
            code="term",
            advice=f'Send such as {{"patient": "...", "limit": "20"}}; it takes {", ".join(TERMS)}.',
        )
    return {name: str(value) for name, value in document.items()}
