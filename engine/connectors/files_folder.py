"""A local folder: listed, read and put aside through one open descriptor, never by a path that could lead elsewhere.

Links are never followed, only regular files are read, and nothing is ever overwritten. A file that was replaced or
written to after it was read is not put aside as if it had been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

from engine.connectors.folder import Entry, aside_names
from engine.errors import Configuration
from engine.failpoints import failpoint

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a FIFO must not hold us
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o640


def entry_of(name: str, found: os.stat_result) -> Entry:
    """What a listing shows of a file."""
    return Entry(name, found.st_size, found.st_mtime_ns, found.st_ino)


def read_whole(descriptor: int, size: int) -> bytes:
    """At most `size` bytes and one more, so that growth shows."""
    chunks: list[bytes] = []
    left = size + 1
    while left and (chunk := os.read(descriptor, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def write_new(folder: int, name: str, content: bytes) -> None:
    """Make a file that was not there, complete and on the disk; the caller makes its name durable."""
    descriptor = os.open(name, _NEW, _MODE, dir_fd=folder)
    try:
        view = memoryview(content)
        while view:
            failpoint("files.write.before")
            view = view[os.write(descriptor, view) :]
            failpoint("files.write.after")
        failpoint("files.sync.before")
        os.fsync(descriptor)
        failpoint("files.sync.after")
    finally:
        os.close(descriptor)


class LocalFolder:
    """Implements `Folder`. Blocking work runs in threads."""

    def __init__(self, path: Path, aside: tuple[str, str], where: str) -> None:
        self._path = path
        self._aside = aside
        self._where = where
        self._root = -1

    async def open(self) -> None:
        """Open and lock the folder, make the folders inside. Raises `Configuration`."""
        try:
            await asyncio.to_thread(self._open)
        except OSError as error:
            await self.close()
            advice = "The folder must exist, belong to the engine's user, and be watched by one channel only."
            text = f"opening the folder: {error.strerror}"
            raise Configuration(text, where=self._where, advice=advice) from None

    async def entries(self) -> list[Entry]:
        """Every regular file directly inside."""
        return await asyncio.to_thread(self._list)

    async def read(self, entry: Entry) -> bytes | None:
        """All of a file, or None when it is no longer what the entry says or may not be read."""
        return await asyncio.to_thread(self._read, entry)

    async def put_aside(self, entry: Entry, folder: str, why: bytes | None) -> None:
        """Move a file by one rename onto a name that was reserved for it."""
        await asyncio.to_thread(self._put_aside, entry, folder, why)

    async def close(self) -> None:
        """Give the lock and the descriptor back."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def _open(self) -> None:
        self._root = os.open(self._path, _FOLDER)
        fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in self._aside:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o750, dir_fd=self._root)
            inside = os.stat(name, dir_fd=self._root, follow_symlinks=False)
            if not stat.S_ISDIR(inside.st_mode) or inside.st_dev != os.fstat(self._root).st_dev:
                raise OSError(errno.ENOTDIR, f'"{name}" is not a folder on the same file system')
            if not os.access(name, os.W_OK | os.X_OK, dir_fd=self._root):
                raise OSError(errno.EACCES, f'"{name}" may not be written to')

    def _list(self) -> list[Entry]:
        entries = []
        with os.scandir(self._root) as listing:
            for item in listing:
                with contextlib.suppress(FileNotFoundError):
                    if item.is_file(follow_symlinks=False):
                        entries.append(entry_of(item.name, item.stat(follow_symlinks=False)))
        return entries

    def _read(self, entry: Entry) -> bytes | None:
        try:
            descriptor = os.open(entry.name, _READ, dir_fd=self._root)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.EPERM}:
                return None
            raise
        try:
            raw = read_whole(descriptor, entry.size)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        unchanged = stat.S_ISREG(after.st_mode) and entry_of(entry.name, after) == entry
        return raw if unchanged and len(raw) == entry.size else None

    def _put_aside(self, entry: Entry, folder: str, why: bytes | None) -> None:
        inside = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=self._root)
        try:
            name = _reserve(inside, entry.name)
            if why is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{name}.why.json", dir_fd=inside)
                write_new(inside, f"{name}.why.json", why)
            self._move(entry, inside, name)
            failpoint("files.aside_sync.before")
            os.fsync(inside)
            failpoint("files.aside_sync.after")
        finally:
            os.close(inside)

    def _move(self, entry: Entry, inside: int, name: str) -> None:
        failpoint("files.aside.before")
        try:
            os.rename(entry.name, name, src_dir_fd=self._root, dst_dir_fd=inside)
        except FileNotFoundError:  # somebody took it away after it was read
            os.unlink(name, dir_fd=inside)
            return
        failpoint("files.aside.after")
        moved = os.stat(name, dir_fd=inside, follow_symlinks=False)
        if entry_of(entry.name, moved) != entry:  # another file came under this name meanwhile: it was not read yet
            back = _reserve(self._root, entry.name)
            failpoint("files.give_back.before")
            os.rename(name, back, src_dir_fd=inside, dst_dir_fd=self._root)
            failpoint("files.give_back.after")


def _reserve(folder: int, name: str) -> str:
    """Take a free name by making an empty file of it: the rename onto it then overwrites nothing but our own."""
    own, other = aside_names(name)
    try:
        os.close(os.open(own, _NEW, _MODE, dir_fd=folder))
        return own
    except FileExistsError:
        os.close(os.open(other, _NEW, _MODE, dir_fd=folder))
        return other
