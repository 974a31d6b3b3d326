"""Folders on an SFTP server as a source and as a destination: sftp://user@host:port/folder.

The same promises as `files`: a file is taken when it has stopped growing and moved only after the path has answered; a
file that is delivered appears complete under its name or not at all, and nothing is overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

import asyncssh

from engine.connectors import sftp_session
from engine.connectors.files import DESTINATION_KNOBS as NAME_KNOBS
from engine.connectors.files import NameRule
from engine.connectors.folder import KNOBS as FOLDER_KNOBS
from engine.connectors.folder import Entry, FolderSource, aside_names, read_rules
from engine.connectors.sftp_session import FAILURES, Session, explain, read_place
from engine.errors import Configuration, Weight
from engine.failpoints import failpoint
from engine.knobs import Knob, read_options
from engine.model import Outcome
from engine.ports import Destination, Sending, Source
from engine.wiring import DestinationSpec, SourceSpec

__all__ = ["DESTINATION_KNOBS", "SOURCE_KNOBS", "SftpDestination", "destination", "source"]

SOURCE_KNOBS = (
    *FOLDER_KNOBS,
    *sftp_session.KNOBS,
    Knob("secret", "text", "", "reference (env:NAME or file:PATH) to a password or an unencrypted private key"),
)
DESTINATION_KNOBS = (*NAME_KNOBS, *sftp_session.KNOBS)


def source(channel: str, spec: SourceSpec) -> Source:
    """The source that watches a folder of a server. Raises `Configuration`."""
    where = f"{channel}, source"
    knobs = read_options(spec.options, SOURCE_KNOBS, where)
    place = read_place(spec.listen, where)
    rules = read_rules(spec, knobs, where)
    folder = RemoteFolder(Session(place, knobs["secret"], knobs, where), place.path, (rules.done, rules.error), where)
    return FolderSource(channel, folder, rules, place.url)


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination that writes one file a delivery. Raises `Configuration`."""
    return SftpDestination(channel, spec)


class RemoteFolder:
    """Implements `Folder` over a session. A server's failure reads as `OSError`: it is looked at again later."""

    def __init__(self, session: Session, path: str, aside: tuple[str, str], where: str) -> None:
        self._session = session
        self._path = path
        self._aside = aside
        self._where = where

    async def open(self) -> None:
        """Connect, and make the folders inside. Raises `Configuration`."""
        try:
            sftp = await self._session.sftp()
            for name in self._aside:
                if not await sftp.isdir(f"{self._path}/{name}"):
                    await sftp.mkdir(f"{self._path}/{name}")
        except (*FAILURES, Configuration) as error:
            await self._session.close()
            code, advice = explain(error)
            raise Configuration(f"opening the folder: {code}", where=self._where, advice=advice) from None

    async def entries(self) -> list[Entry]:
        """Every regular file directly inside; no links, no folders."""
        with _as_os_error():
            sftp = await self._session.sftp()
            found = [(str(item.filename), item.attrs) async for item in sftp.scandir(self._path)]
        return [_entry(name, attrs) for name, attrs in found if _is_file(attrs)]

    async def read(self, entry: Entry) -> bytes | None:
        """All of a file, or None when it is no longer what the entry says or may not be read."""
        with _as_os_error():
            sftp = await self._session.sftp()
            try:
                raw = await _read(sftp, f"{self._path}/{entry.name}", entry.size)
                after = await sftp.lstat(f"{self._path}/{entry.name}")
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPPermissionDenied):
                return None
        return raw if _is_file(after) and _entry(entry.name, after) == entry and len(raw) == entry.size else None

    async def put_aside(self, entry: Entry, folder: str, why: bytes | None) -> None:
        """Move a file by SFTP's own rename, which never overwrites; the second name to try is free."""
        with _as_os_error():
            sftp = await self._session.sftp()
            own, other = aside_names(entry.name)
            name = other if await sftp.lexists(f"{self._path}/{folder}/{own}") else own
            if why is not None:
                await _write(sftp, f"{self._path}/{folder}/{name}.why.json", why)
            with contextlib.suppress(asyncssh.SFTPNoSuchFile):  # somebody took it away after it was read
                failpoint("sftp.aside.before")
                await sftp.rename(f"{self._path}/{entry.name}", f"{self._path}/{folder}/{name}")
                failpoint("sftp.aside.after")
                await self._give_back(sftp, entry, f"{self._path}/{folder}/{name}")

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def _give_back(self, sftp: asyncssh.SFTPClient, entry: Entry, moved: str) -> None:
        """Another file that came under this name meanwhile was not read yet: it must be offered."""
        if _entry(entry.name, await sftp.lstat(moved)) != entry:
            failpoint("sftp.give_back.before")
            await sftp.rename(moved, f"{self._path}/{aside_names(entry.name)[1]}")
            failpoint("sftp.give_back.after")


class SftpDestination:
    """Writes each payload to a file of its own on the server."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        where = f"{channel}, destination {spec.name}"
        knobs: Mapping[str, Any] = read_options(spec.options, DESTINATION_KNOBS, where)
        place = read_place(spec.to, where)
        self._path = place.path
        self._names = NameRule(str(knobs["name"]), where)
        self._timeout = spec.timeout / 1_000_000
        self._slots = asyncio.Semaphore(spec.connections)
        self._idle = [Session(place, spec.secret, knobs, where) for _ in range(spec.connections)]
        self._sessions = tuple(self._idle)

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One file, complete when it is taken. An equal file of that name is an earlier attempt that arrived."""
        async with self._session() as session:
            try:
                sftp = await session.sftp()
            except (*FAILURES, Configuration) as error:
                code, detail = explain(error)
                return Outcome(code, Weight.TRANSIENT, detail=detail, unreachable=True)
            upload = _Upload(sftp, self._path, self._names.name(sending), sending.attempt)
            return await self._run(upload, payload, session)

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """Whether the file of an earlier attempt is there and equal."""
        try:
            async with self._session() as session, asyncio.timeout(self._timeout):
                sftp = await session.sftp()
                there = await _compare(sftp, f"{self._path}/{self._names.name(sending)}", payload)
        except (*FAILURES, Configuration):
            return None
        if there is None:
            return Outcome("absent", Weight.TRANSIENT, detail="the file is not there; send it again")
        return Outcome("present") if there else None

    async def test(self) -> str:
        """Sign in and look at the folder."""
        try:
            async with self._session() as session:
                there = await (await session.sftp()).isdir(self._path)
        except (*FAILURES, Configuration) as error:
            return ": ".join(explain(error))
        return "" if there else "folder_missing: make the folder on the server, or correct the URL"

    async def close(self) -> None:
        """Close every connection for good."""
        for session in self._sessions:
            await session.close()

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """A connection to oneself: what goes wrong with one delivery meets no other."""
        async with self._slots:
            session = self._idle.pop()
            try:
                yield session
            except BaseException:  # cancelled, too: an answer may still be on its way
                session.drop()
                raise
            finally:
                self._idle.append(session)

    async def _run(self, upload: _Upload, payload: bytes, session: Session) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout):
                return await upload.run(payload)
        except TimeoutError:
            session.drop()
            detail = "the server did not answer within `timeout`"
            return Outcome("answer_timeout", upload.weight, detail=detail, unreachable=not upload.begun)
        except FAILURES as error:
            if not isinstance(error, asyncssh.SFTPError) or _is_lost(error):
                session.drop()
            return _outcome_of(error, upload)


class _Upload:
    """One file on its way. `weight` says what an interruption now means: before the rename nothing has appeared."""

    def __init__(self, sftp: asyncssh.SFTPClient, folder: str, name: str, attempt: int) -> None:
        self._sftp = sftp
        self._final = f"{folder}/{name}"
        self._temporary = f"{folder}/.{name}.{attempt}.tmp"
        self.weight = Weight.TRANSIENT
        self.begun = False

    async def run(self, payload: bytes) -> Outcome:
        there = await _compare(self._sftp, self._final, payload)
        if there is None:
            self.begun = True
            await _write(self._sftp, self._temporary, payload)
            await self._rename()
            return Outcome("written")
        if there:
            return Outcome("present")
        detail = "another file has this name; move it away, or put {delivery} into `name`"
        return Outcome("name_taken", Weight.PERMANENT, detail=detail)

    async def _rename(self) -> None:
        self.weight = Weight.AMBIGUOUS
        try:
            failpoint("sftp.rename.before")
            await self._sftp.posix_rename(self._temporary, self._final)
            failpoint("sftp.rename.after")
        except asyncssh.SFTPOpUnsupported:
            failpoint("sftp.plain_rename.before")
            await self._sftp.rename(self._temporary, self._final)
            failpoint("sftp.plain_rename.after")


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except asyncssh.Error as error:
        raise OSError(explain(error)[0]) from error


async def _read(sftp: asyncssh.SFTPClient, path: str, size: int) -> bytes:
    """At most `size` bytes and one more, so that growth shows."""
    async with sftp.open(path, "rb") as file:
        return cast(bytes, await file.read(size + 1))


async def _write(sftp: asyncssh.SFTPClient, path: str, content: bytes) -> None:
    """Write a file whole; made durable where the server can."""
    async with sftp.open(path, "wb") as file:
        failpoint("sftp.write.before")
        await file.write(content)
        failpoint("sftp.write.after")
        with contextlib.suppress(asyncssh.SFTPOpUnsupported):
            failpoint("sftp.sync.before")
            await file.fsync()
            failpoint("sftp.sync.after")


async def _compare(sftp: asyncssh.SFTPClient, path: str, payload: bytes) -> bool | None:
    """None when nothing has the name, else whether it is a regular file with exactly this content."""
    try:
        attrs = await sftp.lstat(path)
    except asyncssh.SFTPNoSuchFile:
        return None
    return _is_file(attrs) and attrs.size == len(payload) and await _read(sftp, path, len(payload)) == payload


def _is_file(attrs: asyncssh.SFTPAttrs) -> bool:
    if attrs.permissions is not None and stat.S_IFMT(attrs.permissions):
        return stat.S_ISREG(attrs.permissions)
    return attrs.type == asyncssh.FILEXFER_TYPE_REGULAR


def _entry(name: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    return Entry(name, attrs.size or 0, attrs.mtime or 0)


def _is_lost(error: asyncssh.SFTPError) -> bool:
    return isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection)


def _outcome_of(error: BaseException, upload: _Upload) -> Outcome:
    """The server's refusal, or what the end of the connection means for where the upload stood."""
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        detail = "the server lets this user not write there; have it allowed, then replay"
        return Outcome("permission_denied", Weight.PERMANENT, detail=detail)
    if isinstance(error, asyncssh.SFTPNoSuchFile | asyncssh.SFTPNoSuchPath):
        detail = "the folder is not there; make it on the server, or correct the URL"
        return Outcome("folder_missing", Weight.TRANSIENT, detail=detail, unreachable=True)
    if isinstance(error, asyncssh.SFTPError) and not _is_lost(error):
        return Outcome("server_refused", Weight.TRANSIENT, detail="the server could not write; see its disk and quota")
    detail = "the connection was lost during the upload"
    return Outcome("connection_lost", upload.weight, detail=detail, unreachable=not upload.begun)
