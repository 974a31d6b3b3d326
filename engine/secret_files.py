"""Makes a small file that only its owner may read: the key of a store, the hash of a token.

Invariant: under its name the file is absent or complete and durable, whenever the process is killed; one that is there
is never touched.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engine.errors import UnsafeStore
from engine.failpoints import failpoint


def make_secret(file: Path, text: str) -> bool:
    """Write one line to a new file of mode 0600; False when the file is there already.

    Raises:
        UnsafeStore: the folder cannot be written to.
    """
    try:
        return not file.exists() and _make(file, text)
    except OSError as error:
        raise unwritable(file.parent, error) from None


def unwritable(folder: Path, error: OSError) -> UnsafeStore:
    """What to tell of a folder in which nothing can be made."""
    return UnsafeStore(
        f"writing to {folder}: {error.strerror}",
        code="folder_unwritable",
        advice="Name another folder with --data, or let this user write there; a disk must not be full or read-only.",
    )


def _make(file: Path, text: str) -> bool:
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # its mode is 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text + "\n")
            stream.flush()
            _sync(stream.fileno())
        failpoint("secret.link.before")
        os.link(temporary, file)  # unlike a rename it never replaces what another process has made meanwhile
        failpoint("secret.link.after")
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    _sync_folder(file.parent)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    failpoint("secret.sync.before")
    os.fsync(handle)
    failpoint("secret.sync.after")
