"""Backs up a store while it is written to, and restores it into an empty folder.

Invariant: a backup is one committed state, complete or absent: it appears under its name only after every byte of it
is on the disk. A restore checks every byte and the key before anything appears in the folder.

What a restore cannot know is what happened after the backup. Messages received since are not in it: their senders hold
our answer, so ask them to send again from `taken_at` on. Deliveries that waited then may have been sent since and are
sent again, those under way then are in doubt; the first start after it notes the restore in every chain of events.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.errors import Conflict, NotFound, UnsafeStore
from engine.failpoints import failpoint
from engine.ports import Clock
from engine.store import migrate, sealing, sql
from engine.store.keyring import read_keys
from engine.store.sqlite import DATABASE, KEY_FILE
from engine.store.sqlite_connection import connect

MANIFEST = "manifest.json"
PAGES_A_STEP = 1000
Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) as the copy goes on."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds: schema version, time (microseconds), and the SHA-256 of every file by name."""

    schema: int
    taken_at: int
    files: dict[str, str]


def backup(
    folder: Path, target: Path, clock: Clock, *, include_key: bool, progress: Progress | None = None
) -> Manifest:
    """Copy the store in `folder` to the new folder `target`, while a server works on it or not.

    The key file is copied only when asked: who holds both can read everything. While the copy runs the write-ahead log
    cannot shrink.

    Raises:
        NotFound, Conflict: there is no store, or the target exists.
    """
    if not (folder / DATABASE).exists():
        raise NotFound(f"backing up {folder}: there is no store", advice="Name the data folder with --data.")
    if target.exists():
        raise Conflict(f"backing up to {target}: it exists", advice="Name a folder that does not exist yet.")
    if include_key and not (folder / KEY_FILE).exists():
        raise NotFound(f"backing up {folder}: it has no key file", advice="The key is in INTERLOCK_KEY: keep it safe.")
    with _appearing(target) as made:
        taken_at = clock.now()
        schema = _copy_database(folder / DATABASE, made / DATABASE, progress)
        if include_key:
            _copy_file(folder / KEY_FILE, made / KEY_FILE)
        manifest = Manifest(schema, taken_at, {file.name: _sha256(file) for file in sorted(made.iterdir())})
        _write(made / MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
    return manifest


def restore(source: Path, folder: Path, key: str) -> Manifest:
    """Make `folder`, which must be empty or absent, a data folder from a backup; `key` is INTERLOCK_KEY or empty.

    Raises:
        NotFound: the source is no backup.
        Conflict: the folder is not empty.
        UnsafeStore: a file was changed, the schema is newer than this program, or the key is not the store's.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(
            f"restoring to {folder}: it is not empty", advice="Name an empty folder, or move its files away."
        )
    manifest = read_manifest(source)
    with _appearing(folder) as made:
        for name, digest in manifest.files.items():
            _copy_file(source / name, made / name)
            if _sha256(made / name) != digest:
                raise UnsafeStore(f"restoring {name}: it is not as it was backed up", code="backup_changed")
        _finish_database(made, manifest, key)
    return manifest


def read_manifest(source: Path) -> Manifest:
    """What a backup says of itself.

    Raises:
        NotFound: it is no backup, or not a complete one.
    """
    try:
        found: dict[str, Any] = orjson.loads((source / MANIFEST).read_bytes())
        manifest = Manifest(int(found["schema"]), int(found["taken_at"]), dict(found["files"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFound(f"reading {source / MANIFEST}: no backup is there ({type(error).__name__})") from None
    if DATABASE not in manifest.files or set(manifest.files) - {DATABASE, KEY_FILE}:
        raise NotFound(f"reading {source / MANIFEST}: it names other files than a backup has")
    return manifest


def _copy_database(file: Path, copy: Path, progress: Progress | None) -> int:
    """One read transaction for the whole copy: commits go on meanwhile and do not make it begin again."""
    source = connect(file, read_only=True)
    target = sqlite3.connect(copy, isolation_level=None)
    try:
        with source.snapshot():
            schema = int(source.execute("PRAGMA user_version").fetchone()[0])
            source.execute("SELECT count(*) FROM site").fetchone()  # the transaction reads from here on
            page = int(source.execute("PRAGMA page_size").fetchone()[0])
            source.raw.backup(target, pages=PAGES_A_STEP, progress=_told(progress, page))
    finally:
        target.close()
        source.close()
    os.chmod(copy, 0o600)
    _sync(copy)
    return schema


def _told(progress: Progress | None, page: int) -> Callable[[int, int, int], None] | None:
    if progress is None:
        return None
    return lambda status, remaining, total: progress((total - remaining) * page, total * page)


def _finish_database(folder: Path, manifest: Manifest, key: str) -> None:
    newest = migrate.scripts()[-1][0]
    if manifest.schema > newest:
        raise UnsafeStore(
            f"restoring schema version {manifest.schema}: this program knows {newest}",
            code="newer_schema",
            advice="Restore with the version of Interlock that made the backup, or a newer one.",
        )
    master = sealing.master_key(key, folder / KEY_FILE, may_create=False)
    connection = connect(folder / DATABASE)
    try:
        read_keys(connection, master)
        failpoint("restore.commit.before")
        connection.execute(sql.SET_SITE, ("restored", str(manifest.taken_at)))
        failpoint("restore.commit.after")
        failpoint("restore.checkpoint.before")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        failpoint("restore.checkpoint.after")
    finally:
        connection.close()
    _sync(folder / DATABASE)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A new folder beside its place, moved there when all of it is on the disk; nothing is left when it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield made
        _sync(made)
        failpoint("backup.rename.before")
        os.rename(made, folder)
        failpoint("backup.rename.after")
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _copy_file(source: Path, copy: Path) -> None:
    """A copy that only its owner can read, on the disk before this returns."""
    try:
        with (
            open(source, "rb") as read,
            os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as w,
        ):
            shutil.copyfileobj(read, w, 1 << 20)
    except FileNotFoundError:
        raise NotFound(f"reading {source}: the backup lacks it") from None
    _sync(copy)


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    _sync(file)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        failpoint("backup.sync.before")
        os.fsync(handle)
        failpoint("backup.sync.after")
    finally:
        os.close(handle)
