"""Nothing is answered without the token: every route is walked, and the body stays unread."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.errors import UnsafeStore
from engine.web.access import OPEN, TOKEN_PREFIX, digest, make_token, read_digest
from engine.web.app import build_app
from engine.web.openapi import document
from tests.unit.web_help import FakeRuntime, open_runtime, with_client

PATHS = sorted(document()["paths"])


async def call(app: Any, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], int]:
    """One request by hand: its status, its answer's headers, and how often the body was asked for."""
    asked, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": lines,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await app(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, asked


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [*PATHS, "/", "/nosuch", "/v1/", "/healthz/", "//healthz", "/healthz/../v1/channels"])
def test_without_the_token_every_path_is_closed_and_no_body_is_read(tmp_path: Path, path: str, method: str) -> None:
    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, token):
            app = build_app(runtime)
            for header in (
                "",
                token,
                f"Basic {token}",
                "Bearer ",
                f"Bearer {token}x",
                f"Bearer {token[:-1]}",
                "Bearer ü",
            ):
                status, headers, asked = await call(app, method, path, {"Authorization": header} if header else {})
                if path in OPEN:
                    assert status != 401
                else:
                    assert (status, asked) == (401, 0)
                    assert headers["www-authenticate"] == "Bearer"
                assert headers["cache-control"] == "no-store"

    asyncio.run(run())


def test_every_route_is_described_and_every_description_is_a_route(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> set[str]:
        return {route.path for route in build_app(runtime).routes}  # type: ignore[attr-defined]

    assert with_client(tmp_path, ask) == set(PATHS)


def test_with_the_token_they_are_open(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> list[int]:
        return [(await client.get(path)).status_code for path in ("/v1/channels", "/metrics", "/openapi.json")]

    assert with_client(tmp_path, ask) == [200, 200, 200]


def test_the_token_is_made_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "data" / "token"
    token = make_token(file)
    assert token.startswith(TOKEN_PREFIX)
    assert make_token(file) == ""
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_digest(file) == digest(token)
    assert make_token(tmp_path / "other") != token


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:abc", "md5:" + "0" * 64, "0" * 64])
def test_a_file_that_holds_no_hash_keeps_the_server_from_starting(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(UnsafeStore):
        read_digest(tmp_path / "token")


def test_a_file_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    make_token(tmp_path / "token")
    (tmp_path / "token").chmod(0o666)
    with pytest.raises(UnsafeStore, match="others may write"):
        read_digest(tmp_path / "token")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnsafeStore) as told:
        read_digest(tmp_path / "token")
    assert "makes a new token" in told.value.advice
