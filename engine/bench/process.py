"""Processes of a bench run: helpers reached through a pipe, and what /proc says of the one that is measured.

Whatever a bench starts it also ends: every process here belongs to a context manager.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def helper(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run `target(pipe, *arguments)` in a process of its own for as long as the block lasts; yields our end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(5)
        if process.is_alive():
            process.terminate()
            process.join()
        ours.close()


def family(pid: int) -> list[int]:
    """The process and its descendants; only itself where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process and its descendants, ended ones included, have used; None without /proc."""
    total, seen = 0, False
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = (_PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15])
            seen = True
    return total / _TICKS if seen else None


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process and its descendants in MB (10^6 bytes); None without /proc."""
    total, seen = 0, False
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += int((_PROC / str(member) / "statm").read_text().split()[1]) * _PAGE
            seen = True
    return total / 1e6 if seen else None


def free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, seconds: float, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until something listens on a loopback port, for as long as whoever should listen is `alive`.

    Raises:
        TimeoutError: when nothing does in time.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > give_up or not alive():
                raise TimeoutError(f"nothing listens on port {port}") from None
            time.sleep(0.02)


def folder_bytes(folder: Path) -> int:
    """The sizes of all files below a folder, together."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
