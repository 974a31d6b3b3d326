"""The control socket: who is heard, what is answered, and what a client makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import control
from engine.control import ControlServer, call, running, user_name
from engine.errors import Conflict, InterlockError, NotFound, StoreUnavailable

ME = user_name(os.geteuid())


async def said(arguments: Mapping[str, Any], actor: str) -> Any:
    return {"arguments": dict(arguments), "actor": actor}


async def refused(arguments: Mapping[str, Any], actor: str) -> Any:
    raise Conflict("it has ended", where="there", advice="Look again.")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], Any]], Any]:
    """Runs a function in a thread while a control server answers in the loop."""
    monkeypatch.setattr(ControlServer, "__init__", _with_handlers)

    def run(ask: Callable[[Path], Any]) -> Any:
        async def serve() -> Any:
            listening = ControlServer(tmp_path / control.SOCKET, None)  # type: ignore[arg-type]
            await listening.start()
            try:
                return await asyncio.to_thread(ask, tmp_path)
            finally:
                await listening.stop()
                await listening.stop()

        return asyncio.run(serve())

    return run


def _with_handlers(self: ControlServer, file: Path, runtime: Any) -> None:
    self.file = file
    self._handlers = {"say": said, "refuse": refused}
    self._server = None
    self._peers, self._at_work = set(), set()


Server = Callable[[Callable[[Path], Any]], Any]


def test_a_command_reaches_its_handler_with_the_user_who_asks(server: Server) -> None:
    answer = server(lambda folder: call(folder, "say", reason="because", n=[1]))
    assert answer == {"arguments": {"reason": "because", "n": [1]}, "actor": ME}


def test_only_the_owner_may_open_the_socket(server: Server) -> None:
    mode = server(lambda folder: (folder / control.SOCKET).stat().st_mode)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_refusal_arrives_as_the_error_it_was(server: Server) -> None:
    with pytest.raises(Conflict) as told:
        server(lambda folder: call(folder, "refuse"))
    assert (told.value.text, told.value.where, told.value.advice) == ("it has ended", "there", "Look again.")


def test_an_unknown_command_names_the_known_ones(server: Server) -> None:
    with pytest.raises(NotFound) as told:
        server(lambda folder: call(folder, "nosuch"))
    assert "refuse, say" in told.value.advice


@pytest.mark.parametrize(
    "line",
    [b"not json\n", b"[]\n", b'{"command": 1}\n', b'{"command": "say", "arguments": []}\n', b"null\n", b"no line end"],
)
def test_what_is_no_command_is_refused(server: Server, line: bytes) -> None:
    answer = json.loads(server(lambda folder: _raw(folder, line)))
    assert answer["ok"] is False
    assert answer["error"]["code"] == "malformed"


def test_a_request_has_a_largest_size(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MOST_BYTES", 1000)
    line = json.dumps({"command": "say", "arguments": {"x": "y" * 5000}}).encode() + b"\n"
    assert json.loads(server(lambda folder: _raw(folder, line)))["ok"] is False


def test_a_slow_request_is_let_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.01)
    assert json.loads(server(lambda folder: _raw(folder, b'{"comm', end=False)))["error"]["code"] == "malformed"


def test_another_user_is_not_heard(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1 if mine else 4711)
    if mine == 0:  # root is always heard: let the kernel name somebody else
        monkeypatch.setattr(control.struct, "unpack", lambda *_: (1, 4712, 1))
    with pytest.raises(NotFound) as told:
        server(lambda folder: call(folder, "say"))
    assert told.value.code == "forbidden"


def test_where_no_server_runs_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    assert not running(tmp_path)
    with pytest.raises(NotFound) as told:
        call(tmp_path, "say")
    assert told.value.code == "no_server"
    assert "interlock serve" in told.value.advice


def test_a_socket_that_a_dead_server_left_is_no_server_and_no_obstacle(server: Server, tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / control.SOCKET))
    left.close()
    assert not running(tmp_path)
    assert server(looked_at)
    assert not (tmp_path / control.SOCKET).exists()


def test_a_path_too_long_for_the_kernel_is_reached_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async def serve() -> bool:
        listening = ControlServer.__new__(ControlServer)
        _with_handlers(listening, deep / control.SOCKET, None)
        await listening.start()
        try:
            return await asyncio.to_thread(looked_at, deep)
        finally:
            await listening.stop()

    assert asyncio.run(serve())


def test_a_server_that_ends_before_it_answers_leaves_the_outcome_open(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / control.SOCKET))
    listener.listen()

    async def serve() -> None:
        async def hang_up() -> None:
            connection, _ = await asyncio.to_thread(listener.accept)
            connection.recv(1000)
            connection.close()

        ending = asyncio.create_task(hang_up())
        with pytest.raises(StoreUnavailable) as told:
            await asyncio.to_thread(call, tmp_path, "say")
        await ending
        assert told.value.code == "no_answer"

    asyncio.run(serve())
    listener.close()


def test_an_error_of_a_kind_nobody_knows_is_still_an_error() -> None:
    told = control._error({"kind": "Later", "code": "later", "text": "t"})
    assert type(told) is InterlockError
    assert told.code == "later"


def looked_at(folder: Path) -> bool:
    """Whether a server runs; the second question makes sure that the first connection was served before it stops."""
    return running(folder) and call(folder, "say")["actor"] == ME


def _raw(folder: Path, line: bytes, end: bool = True) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / control.SOCKET))
        connection.sendall(line)
        if end:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.readline()


def test_a_stop_finishes_the_command_under_way_and_lets_go_of_a_silent_peer(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(arguments: Mapping[str, Any], actor: str) -> Any:
        begun.set()
        await go_on.wait()
        return "done"

    async def serve() -> Any:
        listening = ControlServer.__new__(ControlServer)
        _with_handlers(listening, tmp_path / control.SOCKET, None)
        listening._handlers = {"slow": slow}
        await listening.start()
        _, silent = await asyncio.open_unix_connection(str(tmp_path / control.SOCKET))
        asking = asyncio.create_task(asyncio.to_thread(call, tmp_path, "slow"))
        await begun.wait()
        stopping = asyncio.create_task(listening.stop())
        go_on.set()
        await stopping
        silent.close()
        return await asking

    assert asyncio.run(serve()) == "done"
