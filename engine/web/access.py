"""The bearer token of the HTTP API: made once, shown once, kept as its hash; without it nothing is answered.

Invariant: every path needs the token unless it is named in `OPEN`; the check comes before routing and before a byte of
the body is read, so that a new route cannot be forgotten and a stranger cannot make the engine work.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import UnsafeStore
from engine.secret_files import make_secret

OPEN = frozenset({"/healthz", "/readyz"})
"""What a load balancer may ask without a token: no names, no patients' data."""
TOKEN_PREFIX = "ilk_"
_SCHEME = "sha256:"
_TOKEN_BYTES = 32


def make_token(file: Path) -> str:
    """The API's new token, its hash written to the file (0600); "" when the file already has one."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return token if make_secret(file, _SCHEME + digest(token)) else ""


def read_digest(file: Path) -> str:
    """The stored hash of the token.

    Raises:
        UnsafeStore: when the file is missing, others may write it, or it holds no hash.
    """
    try:
        text, mode = file.read_text().strip(), file.stat().st_mode
    except OSError as error:
        raise _unusable(file, f"{error.strerror}") from None
    if mode & 0o022:
        raise _unusable(file, "others may write it")
    stored = text.removeprefix(_SCHEME)
    if len(stored) != 64 or not text.startswith(_SCHEME):
        raise _unusable(file, "it does not hold the hash of a token")
    return stored


def digest(token: str) -> str:
    """What is stored of a token. It is random and long: a slow hash would protect nothing more."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class BearerToken:
    """Answers 401 to whatever does not bring the token, before anybody looks at the path or the body."""

    def __init__(self, app: ASGIApp, stored: str) -> None:
        self._app = app
        self._stored = stored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            return  # no websockets are served; uvicorn refuses the handshake
        if scope["path"] not in OPEN and not self._known(Headers(scope=scope).get("authorization", "")):
            refusal = JSONResponse(_REFUSAL, 401, {"WWW-Authenticate": "Bearer", "Connection": "close"})
            return await refusal(scope, receive, _protected(send))
        await self._app(scope, receive, _protected(send))

    def _known(self, header: str) -> bool:
        scheme, _, token = header.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(digest(token.strip()), self._stored)


_REFUSAL = {
    "error": {
        "code": "unauthorized",
        "text": "this needs the token that the first start printed",
        "advice": "Send it as: Authorization: Bearer TOKEN",
    }
}


def _protected(send: Send) -> Send:
    """Answers hold patients' data: nobody between us and the reader may keep or reinterpret them."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return with_headers


def _unusable(file: Path, what: str) -> UnsafeStore:
    return UnsafeStore(
        f"reading the API's token file {file}: {what}",
        code="token_file",
        advice="Remove the file: the next start makes a new token and prints it once.",
    )
