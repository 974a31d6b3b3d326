"""Disks that fail: a small one, one that cannot be written, and one whose power is cut (ext4 on a loop device).

Needs root. Everything mounted is below the test's own folder and is unmounted at the end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NOLOGFLUSH = 2


def needs_root() -> None:
    """Skip without root. With root a mount that does not work is a failure, never a skip."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")


def run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stderr}"


@contextmanager
def tmpfs(path: Path, mebibytes: int) -> Iterator[Path]:
    """A small disk."""
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", path)
    try:
        yield path
    finally:
        run("umount", "-l", path)


def resize(path: Path, mebibytes: int) -> None:
    run("mount", "-o", f"remount,size={mebibytes}m", path)


def make_read_only(path: Path) -> None:
    run("mount", "-o", "remount,ro", path)


class LoopDisk:
    """An ext4 image. After `cut_power` every write fails with EIO, and what was not synced is gone for good."""

    def __init__(self, folder: Path, mebibytes: int = 64) -> None:
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        self.image.touch()
        os.truncate(self.image, mebibytes << 20)
        maker = shutil.which("mkfs.ext4") or "/sbin/mkfs.ext4"
        run(maker, "-q", "-F", self.image)

    def mount(self) -> None:
        """commit=300: the journal must not save what nobody asked it to save."""
        run("mount", "-o", "loop,commit=300", self.image, self.path)

    def unmount(self) -> None:
        run("umount", self.path)

    def cut_power(self) -> None:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(handle)
