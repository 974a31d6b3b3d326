"""SFTP for the contract suite: a real SSH server on loopback that serves the test's own folder."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from pathlib import Path
from typing import Any, ClassVar

import asyncssh

from engine.connectors import sftp
from engine.errors import Weight
from engine.ports import Destination, Source
from engine.wiring import DestinationSpec, SourceSpec

from .harness import DestinationHarness, Sender, SourceHarness
from .harness_files import Dropper

PASSWORD = "invented-password"
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("interlock", PASSWORD)


class SshServer:
    """The server; it can be stopped and started at the same port, and told to misbehave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._next: deque[str] = deque()
        self.released = asyncio.Event()
        self.outstanding = 0
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._listener: asyncssh.SSHAcceptor | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (root / "secret").write_text(PASSWORD)

    @property
    def options(self) -> dict[str, str | int | float | bool]:
        """What a channel that trusts this server sets."""
        return {"fingerprint": HOST_KEY.get_fingerprint()}

    async def up(self) -> None:
        self._listener = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[HOST_KEY],
            server_factory=_Login,
            sftp_factory=self._serve,
            reuse_address=True,
        )

    async def down(self) -> None:
        if self._listener is None:
            return
        self._listener.close()
        await self._listener.wait_closed()
        self._listener = None
        for connection in tuple(self._connections):
            connection.abort()
            await connection.wait_closed()
        self._connections.clear()

    def show(self, *behaviours: str) -> None:
        self._next.extend(behaviours)

    def behaviour(self) -> str:
        """What the upload that begins now meets."""
        return self._next.popleft() if self._next else "take"

    def _serve(self, channel: asyncssh.SSHServerChannel[Any]) -> asyncssh.SFTPServer:
        self._connections.add(channel.get_connection())
        return _Folder(channel, self)


class _Folder(asyncssh.SFTPServer):
    """One client's view; the behaviour is drawn when an upload begins."""

    def __init__(self, channel: asyncssh.SSHServerChannel[Any], server: SshServer) -> None:
        super().__init__(channel, chroot=str(server.root).encode())
        self._server = server
        self._shown = "take"

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & asyncssh.FXF_WRITE and path.endswith(b".tmp"):
            self._shown = self._server.behaviour()
            if self._shown == "denied":
                raise asyncssh.SFTPPermissionDenied("not yours")
            if self._shown == "full":
                raise asyncssh.SFTPFailure("no space")
        return super().open(path, pflags, attrs)

    def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
        if self._shown == "cut in the upload":
            self.channel.get_connection().abort()
        return super().write(file_obj, offset, data)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        shown, self._shown = self._shown, "take"
        self._server.outstanding += 1
        try:
            if shown == "unsupported":
                raise asyncssh.SFTPOpUnsupported("never heard of it")
            if shown == "wait":
                await self._server.released.wait()
            super().posix_rename(oldpath, newpath)
            if shown == "cut at the rename":
                self.channel.get_connection().abort()
            if shown == "silent":
                await asyncio.get_running_loop().create_future()
        finally:
            self._server.outstanding -= 1


class SftpSource(SourceHarness):
    name = "sftp"
    tells_error_from_reject = False

    async def make(self, max_size: int, grace: str) -> Source:
        self.server = SshServer(self.folder)
        await self.server.up()
        (self.folder / "in").mkdir()
        options = {"every": "5ms", "stable": "0s", "grace": grace, "secret": f"file:{self.folder}/secret"}
        url = f"sftp://interlock@127.0.0.1:{self.server.port}/in"
        return sftp.source("c", SourceSpec(url, max_size=max_size, options=options | self.server.options))

    async def sender(self) -> Sender:
        return Dropper(self.folder / "in")

    async def close(self) -> None:
        await self.server.down()


class SftpDestination(DestinationHarness):
    name = "sftp"
    answers: ClassVar = {
        "denied": Weight.PERMANENT,
        "full": Weight.TRANSIENT,
        "cut in the upload": Weight.TRANSIENT,
        "cut at the rename": Weight.AMBIGUOUS,
    }

    async def make(self, connections: int, timeout: int) -> Destination:
        self.server = SshServer(self.folder)
        self.outbox = self.folder / "out"
        self.outbox.mkdir()
        url = f"sftp://interlock@127.0.0.1:{self.server.port}/out"
        spec = DestinationSpec(
            "d",
            url,
            connections=connections,
            timeout=timeout,
            secret=f"file:{self.folder}/secret",
            options=self.server.options,
        )
        return sftp.destination("c", spec)

    @property
    def received(self) -> list[bytes]:  # type: ignore[override]
        found = self.outbox.glob("[!.]*")
        return [path.read_bytes() for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    @received.setter
    def received(self, value: list[bytes]) -> None:
        """The suite's base class begins with []; the folder keeps them."""

    @property
    def outstanding(self) -> int:
        return self.server.outstanding

    async def up(self) -> None:
        await self.server.up()

    async def down(self) -> None:
        await self.server.down()

    def show(self, *behaviours: str) -> None:
        self.server.show(*behaviours)

    def release(self) -> None:
        self.server.released.set()


SOURCES = (SftpSource,)
DESTINATIONS = (SftpDestination,)
