"""The HTTP side of the engine: the application, and the server that runs it inside the engine's own loop.

Invariant: no route is reachable without passing `access.BearerToken`; no request is logged by its address, because an
address may be asked for with what should never be in a log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import traceback
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import observe
from engine.errors import Configuration, Conflict, InterlockError, NotFound, StoreUnavailable
from engine.web.access import BearerToken, read_digest
from engine.web.api import Served, routes
from engine.web.bounds import Crowd, Limits

STOP_SECONDS = 5
_STATUS: tuple[tuple[type[InterlockError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (StoreUnavailable, 503),
    (Configuration, 400),
)


def build_app(runtime: Served) -> Starlette:
    """The application of a running engine.

    Raises:
        UnsafeStore: when the token file is missing or cannot be trusted.
    """
    app = Starlette(
        routes=routes(runtime),
        middleware=[Middleware(BearerToken, stored=read_digest(runtime.settings.token_file)), Middleware(Unforeseen)],
        exception_handlers={InterlockError: _refused, HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    return app


class Unforeseen:
    """Answers what nobody foresaw, and logs its type and place: a traceback's text could hold a field's value."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; an answer that has begun is cut, for it cannot be taken back."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return  # nobody is there any more to be answered
        except Exception as error:
            observe.event("request_failed", error=type(error).__name__, where=_place(error))
            if not begun:
                await _error(500, "internal", "an unforeseen error", "See the engine's log.")(scope, receive, send)


class HttpServer:
    """Serves an application on one address. `port` is the real one, also where 0 was asked for."""

    def __init__(self, app: Starlette, host: str, port: int, limits: Limits | None = None) -> None:
        crowd = Crowd(limits or Limits())
        self.host, self.port = host.strip("[]"), port
        logging.getLogger("uvicorn").handlers[:] = [logging.NullHandler()]  # its lines may quote a request
        logging.getLogger("uvicorn").propagate = False
        config = uvicorn.Config(
            app,
            http=crowd.protocol,  # type: ignore[arg-type]  # it is called, and a function can be
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=int(crowd.limits.idle_seconds) + 1,  # `crowd` is the first to close
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it can be reached."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            Configuration: when the address cannot be used.
        """
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listener]))
        await self._server.up.wait()

    async def stop(self) -> None:
        """Finish what is being answered, then close. Safe to call twice."""
        serving, self._serving = self._serving, None
        if serving is not None:
            self._server.should_exit = True
            await serving

    def _listen(self) -> socket.socket:
        try:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            return socket.create_server((self.host, self.port), family=family, backlog=128)
        except OSError as error:
            raise Configuration(
                f"listening for HTTP on {self.host}:{self.port}: {error.strerror}",
                code="address",
                advice="Choose another address with --http, such as --http 127.0.0.1:0 for any free port.",
            ) from None


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime owns the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, InterlockError)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return _error(status, error.code, error.text, error.advice)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    answer = _error(error.status_code, code, error.detail, "GET /openapi.json lists what there is.")
    answer.headers.update(error.headers or {})
    return answer


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _error(status: int, code: str, text: str, advice: str) -> Response:
    return JSONResponse({"error": {"code": code, "text": text, "advice": advice}}, status)
