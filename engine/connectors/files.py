"""Folders as a source and as a destination: files:///absolute/folder or files:relative/folder.

A destination's file is absent or complete under its name, also after the power went: written under another name, made
durable, renamed, and the folder made durable; what is there already is never overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from urllib.parse import unquote, urlsplit

from engine.connectors.files_folder import LocalFolder, read_whole, write_new
from engine.connectors.folder import KNOBS as SOURCE_KNOBS
from engine.connectors.folder import FolderSource, read_rules
from engine.errors import Configuration, Weight
from engine.failpoints import failpoint
from engine.knobs import Knob, read_options
from engine.model import Outcome
from engine.ports import Destination, Sending, Source
from engine.wiring import DestinationSpec, SourceSpec

__all__ = ["DESTINATION_KNOBS", "SOURCE_KNOBS", "FilesDestination", "NameRule", "destination", "source"]

DESTINATION_KNOBS = (
    Knob(
        "name", "text", "", "file name from {channel} {message} {delivery} {attempt}; default {delivery}.hl7 or .json"
    ),
)
_FIELDS = frozenset({"channel", "message", "delivery", "attempt"})
_ENDINGS = (("json", ".json"), ("xml", ".xml"))
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENFILE, errno.EMFILE, errno.ENOMEM})
_AWAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENOTCONN, errno.ESTALE, errno.ENODEV})


def source(channel: str, spec: SourceSpec) -> Source:
    """The source that watches a folder. Raises `Configuration`."""
    where = f"{channel}, source"
    path = read_path(spec.listen, where)
    rules = read_rules(spec, read_options(spec.options, SOURCE_KNOBS, where), where)
    return FolderSource(channel, LocalFolder(path, (rules.done, rules.error), where), rules, path.as_uri())


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination that writes one file a delivery. Raises `Configuration`."""
    return FilesDestination(channel, spec)


def read_path(url: str, where: str) -> Path:
    """The folder of a files: URL; a relative one begins where the engine was started.

    Raises:
        Configuration: when it names no folder, or a host.
    """
    parts = urlsplit(url)
    if parts.scheme != "files" or parts.netloc or not parts.path or parts.query or parts.fragment:
        advice = "Write files:///absolute/folder or files:relative/folder; write ? and # as %3F and %23."
        raise Configuration("reading a files: URL: it names no folder", where=where, advice=advice)
    return Path(unquote(parts.path)).absolute()


class NameRule:
    """A file name for each delivery, from a template that can only say ids."""

    def __init__(self, template: str, where: str) -> None:
        self._template = template
        if template:
            _check_template(template, where)

    def name(self, sending: Sending) -> str:
        """The name: one part of a path, never hidden."""
        template = self._template or "{delivery}" + _ending(sending.content_type)
        name = template.format(
            channel=sending.channel, message=sending.message, delivery=sending.delivery, attempt=sending.attempt
        )
        return name.replace("/", "_").replace("\0", "_")


def _check_template(template: str, where: str) -> None:
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        parts = [("", "?", None, None)]
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    hidden = template.startswith(".") or "/" in template
    if hidden or not plain or not _FIELDS.issuperset(fields) or not {"message", "delivery"}.intersection(fields):
        advice = "Use {message} or {delivery}, and {channel} and {attempt} as you like, without / and no leading dot."
        raise Configuration('reading option "name": it makes no file name', where=where, advice=advice)


def _ending(content_type: str) -> str:
    return next((ending for kind, ending in _ENDINGS if kind in content_type), ".hl7")


class FilesDestination:
    """Writes each payload to a file of its own."""

    def __init__(self, channel: str, spec: DestinationSpec) -> None:
        where = f"{channel}, destination {spec.name}"
        self._path = read_path(spec.to, where)
        self._names = NameRule(str(read_options(spec.options, DESTINATION_KNOBS, where)["name"]), where)
        self._timeout = spec.timeout / 1_000_000
        self._closed = False

    async def deliver(self, payload: bytes, sending: Sending) -> Outcome:
        """One file, durable when it is taken. An equal file of that name is an earlier attempt that arrived."""
        if self._closed:
            return Outcome("closed", Weight.TRANSIENT, detail="the destination is closed", unreachable=True)
        name = self._names.name(sending)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.to_thread(self._deliver, name, sending.attempt, payload)
        except TimeoutError:
            return Outcome("answer_timeout", Weight.AMBIGUOUS, detail="the file system did not answer in time")
        except OSError as error:
            return outcome_of(error)

    async def ask(self, payload: bytes, sending: Sending) -> Outcome | None:
        """Whether the file of an earlier attempt is there, complete and equal."""
        try:
            there = await asyncio.to_thread(self._look, self._names.name(sending), payload)
        except OSError:
            return None
        if there is None:
            return Outcome("absent", Weight.TRANSIENT, detail="the file is not there; send it again")
        return Outcome("present") if there else None

    async def test(self) -> str:
        """Whether the folder is there and may be written to."""
        if not await asyncio.to_thread(self._path.is_dir):
            return "folder_missing: make the folder, or mount what holds it"
        if not os.access(self._path, os.W_OK | os.X_OK):
            return "permission_denied: let the engine's user write to the folder"
        return ""

    async def close(self) -> None:
        """Write no more."""
        self._closed = True

    def _deliver(self, name: str, attempt: int, payload: bytes) -> Outcome:
        folder = os.open(self._path, _FOLDER)
        try:
            there = _compare(folder, name, payload)
            if there is None:
                _write(folder, name, attempt, payload)
            failpoint("files.folder_sync.before")
            os.fsync(folder)
            failpoint("files.folder_sync.after")
        finally:
            os.close(folder)
        if there is False:
            detail = "another file has this name; move it away, or put {delivery} into `name`"
            return Outcome("name_taken", Weight.PERMANENT, detail=detail)
        return Outcome("written" if there is None else "present")

    def _look(self, name: str, payload: bytes) -> bool | None:
        folder = os.open(self._path, _FOLDER)
        try:
            return _compare(folder, name, payload)
        finally:
            os.close(folder)


def _write(folder: int, name: str, attempt: int, payload: bytes) -> None:
    temporary = f".{name}.{attempt}.tmp"
    for left in (f".{name}.{attempt - 1}.tmp", temporary):  # what a crash, or a thread that is late, left behind
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left, dir_fd=folder)
    try:
        write_new(folder, temporary, payload)
        failpoint("files.rename.before")
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        failpoint("files.rename.after")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _compare(folder: int, name: str, payload: bytes) -> bool | None:
    """None when nothing has the name, else whether it is a regular file with exactly this content, durable."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno == errno.ELOOP:
            return False
        raise
    try:
        found = os.fstat(descriptor)
        equal = stat.S_ISREG(found.st_mode) and found.st_size == len(payload)
        if not equal or read_whole(descriptor, len(payload)) != payload:
            return False
        failpoint("files.present_sync.before")
        os.fsync(descriptor)
        failpoint("files.present_sync.after")
        return True
    finally:
        os.close(descriptor)


_ADVICE: Mapping[str, str] = {
    "disk_full": "the disk is full, failing or read-only; free space or repair it",
    "folder_missing": "the folder is not there; make it, or mount what holds it",
    "permission_denied": "let the engine's user write to the folder, then replay",
    "write_failed": "the file system refused the file; see its type and its limits, then replay",
}


def outcome_of(error: OSError) -> Outcome:
    """The outcome of a file that could not be written: it is not there under its name."""
    if error.errno in _FULL:
        return Outcome("disk_full", Weight.TRANSIENT, detail=_ADVICE["disk_full"])
    if error.errno in _AWAY:
        return Outcome("folder_missing", Weight.TRANSIENT, detail=_ADVICE["folder_missing"], unreachable=True)
    code = "permission_denied" if error.errno in {errno.EACCES, errno.EPERM} else "write_failed"
    return Outcome(code, Weight.PERMANENT, detail=_ADVICE[code])
