"""The control socket: how a person's command reaches the running server, in one JSON line each way.

Invariant: only the owner of the data folder (or root) is heard: the socket has mode 0600 in a locked folder of mode
0700, and where the kernel names the peer it is the kernel, not the peer, that says who acts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Configuration, Conflict, InterlockError, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from engine.handlers import Commanded

SOCKET = "control.sock"
MOST_BYTES = 1 << 20
"""Of a request; an answer may be as large as a report is."""
REQUEST_SECONDS = 10.0
"""A peer that has not finished its line by then is let go."""
ANSWER_SECONDS = 600.0
"""How long a client waits: a backup of a large store takes minutes."""

_LONGEST_PATH_BYTES = 100  # of an address the kernel takes 104 (macOS) or 108 (Linux)
_KINDS: Mapping[str, type[InterlockError]] = {
    kind.__name__: kind for kind in (Configuration, Conflict, NotFound, StoreUnavailable)
}


class ControlServer:
    """Takes commands while the server runs: those of `engine.handlers`, carried out by the runtime."""

    def __init__(self, file: Path, runtime: Commanded) -> None:
        from engine.handlers import handlers  # not above: a client of this module needs none of the engine

        self.file = file
        self._handlers = handlers(runtime)
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[Any]] = set()
        self._at_work: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. The data folder must be locked: a socket that is already there was left by a server that died."""
        self.file.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(self.file) as address:
                listener.bind(address)
            os.chmod(self.file, 0o600)  # before it listens: nobody connects in between
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MOST_BYTES)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop taking commands and finish those under way. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.file.unlink(missing_ok=True)
        for peer in self._peers - self._at_work:  # it has not said what it wants
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = asyncio.current_task()
        assert peer is not None
        self._peers.add(peer)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(_line(await self._answer(reader, writer, peer)))
                await writer.drain()
        finally:
            writer.close()
            self._peers.discard(peer)
            self._at_work.discard(peer)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: asyncio.Task[Any]
    ) -> dict[str, Any]:
        try:
            actor = _actor(writer.get_extra_info("socket"))
            async with asyncio.timeout(REQUEST_SECONDS):
                command, arguments = _request(await reader.readuntil(b"\n"))
            self._at_work.add(peer)
            handler = self._handlers.get(command)
            if handler is None:
                known = ", ".join(sorted(self._handlers))
                raise NotFound("reading a command: there is none of that name", advice=f"One of {known}.")
            return {"ok": True, "result": await handler(arguments, actor)}
        except InterlockError as error:
            return _refusal(error)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return _refusal(Configuration("reading a command: no whole line came", code="malformed"))


def running(folder: Path) -> bool:
    """True when a server takes commands in this data folder."""
    if not (folder / SOCKET).exists():
        return False
    try:
        _connect(folder / SOCKET).close()
    except OSError:
        return False
    return True


def call(folder: Path, command: str, **arguments: Any) -> Any:
    """Ask the running server to carry out a command, and wait for what comes of it.

    Raises:
        InterlockError: what the server answered, of its own kind; `NotFound` (`no_server`) when none runs there.
    """
    try:
        connection = _connect(folder / SOCKET)
    except OSError:
        raise NotFound(
            f"asking the server of {folder}: none runs there",
            code="no_server",
            advice="Start one with `interlock serve`, or name its data folder with --data.",
        ) from None
    with connection:
        connection.settimeout(ANSWER_SECONDS)
        with contextlib.suppress(BrokenPipeError):  # a server that refuses may answer before it has read
            connection.sendall(_line({"command": command, "arguments": arguments}))
        answer = _read_line(connection)
    if answer.get("ok"):
        return answer.get("result")
    raise _error(answer.get("error", {}))


def _connect(file: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(file) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_line(connection: socket.socket) -> dict[str, Any]:
    try:
        with connection.makefile("rb") as stream:
            answer = json.loads(stream.readline())
    except (OSError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise StoreUnavailable(
            "asking the server: it ended before it answered",
            code="no_answer",
            advice="Look with `interlock channel list` whether the command was carried out before you repeat it.",
        )
    return answer


def _request(line: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        request = json.loads(line)
        command, arguments = request["command"], request.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError):
        command = arguments = None
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise Configuration('reading a command: it is not {"command": ..., "arguments": {...}}', code="malformed")
    return command, arguments


def _refusal(error: InterlockError) -> dict[str, Any]:
    described = {"kind": type(error).__name__, "code": error.code, "text": error.text}
    return {"ok": False, "error": {**described, "where": error.where, "advice": error.advice}}


def _error(told: Mapping[str, str]) -> InterlockError:
    kind = _KINDS.get(told.get("kind", ""), InterlockError)
    names = {name: told.get(name, "") for name in ("code", "where", "advice")}
    return kind(told.get("text", "the server refused"), **names)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), default=str).encode() + b"\n"


def _actor(peer: socket.socket) -> str:
    """The login name of whoever is at the other end.

    Raises:
        NotFound: when it is another user than the server's own or root.
    """
    user = os.geteuid()
    if hasattr(socket, "SO_PEERCRED"):
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        user = struct.unpack("3i", credentials)[1]
    if user not in (0, os.geteuid()):
        raise NotFound("taking a command: it comes from another user", code="forbidden")
    return user_name(user)


def user_name(user: int) -> str:
    """The login name of a user id, or the id where the system knows no name."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


@contextlib.contextmanager
def _address(file: Path) -> Iterator[str]:
    """The socket's address; a path too long for the kernel is reached through its opened folder, where there is one."""
    if len(os.fsencode(file)) <= _LONGEST_PATH_BYTES:
        yield str(file)
        return
    if not Path("/proc/self/fd").is_dir():
        raise Configuration(f"opening {file}: the path is too long for a socket", advice="Use a shorter --data path.")
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
