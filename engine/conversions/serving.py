"""The child: converts what it is given, in order, and answers each message at once.

Invariant: it ends when the engine does, also in the midst of a conversion; it knows neither the store nor its key.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from engine import registry
from engine.conversions.frames import (
    Frames,
    code_of,
    frame,
    read_channel,
    show_converted,
    show_held,
    show_raised,
    show_unfit,
    tables_of,
)
from engine.errors import Configuration, Held, InterlockError
from engine.ports import ApplyMaps, Running, Tables
from engine.transform import transform

_READ_BYTES = 256 * 1024
_COLLECT_AFTER = 20_000


class Converting:
    """What a child knows: its tables, and the channels it was told of."""

    def __init__(self, tables: Tables, apply_maps: ApplyMaps) -> None:
        self._tables, self._apply_maps = tables, apply_maps
        self._revisions = tables_of(tables)
        self._channels: dict[str, tuple[Running, str]] = {}

    def take(self, small: bytes, payload: bytes) -> tuple[bytes, bytes] | None:
        """Do what a frame says; the answer, where it is a message."""
        kind, *rest = orjson.loads(small)
        if kind == "convert":
            return self._convert(payload, *rest)
        if kind == "wiring":
            self._learn(*rest)
        else:
            self._reload()
        return None

    def _convert(self, raw: bytes, name: str, destination: str, received_at: int) -> tuple[bytes, bytes]:
        if name not in self._channels:
            return show_unfit()
        running, code = self._channels[name]
        spec = running.channel.destination(destination)
        if spec is None:
            return show_unfit()
        used = (code, self._revisions)
        try:
            converted = transform(raw, running, spec, self._tables, self._apply_maps, received_at)
            return show_converted(converted, *used)
        except Held as error:
            return show_held(error, *used)
        except (Exception, SystemExit) as error:  # site code may raise anything; nothing of it is printed
            return show_raised(error, *used)

    def _learn(self, shown: dict[str, Any]) -> None:
        channel = read_channel(shown)
        self._channels.pop(channel.name, None)
        try:
            self._channels[channel.name] = registry.running(channel), code_of(channel)
        except InterlockError:
            return  # not to be had here: the engine converts for this channel itself

    def _reload(self) -> None:
        try:
            self._tables.reload()
        except Configuration:
            return  # they stay, and their name says so
        self._revisions = tables_of(self._tables)


def serve(link: socket.socket, converting: Converting) -> None:
    """Answer until the engine hangs up."""
    _send(link, frame(["ready"]))
    frames = Frames()
    while data := link.recv(_READ_BYTES):
        for small, payload in frames.feed(data):
            answer = converting.take(small, payload)
            if answer is not None:
                _send(link, answer)


def _send(link: socket.socket, parts: tuple[bytes, bytes]) -> None:
    """Not later than the next conversion begins: what is unanswered is what the child died of."""
    first, payload = parts
    sent = link.sendmsg(parts)
    if sent < len(first):
        link.sendall(first[sent:])
        sent = len(first)
    if sent < len(first) + len(payload):
        link.sendall(memoryview(payload)[sent - len(first) :])


def _end_with(link: socket.socket) -> None:
    """End the process when the other side is gone, whatever it does then."""
    hung_up = select.poll()
    hung_up.register(link, 0)  # nothing but the hang-up, of which one is always told
    hung_up.poll()
    os._exit(0)


def main(words: Sequence[str]) -> None:
    """Serve on the socket of that number, with those folders of tables."""
    number, *folders = words
    for signal_number in (signal.SIGINT, signal.SIGTERM):  # they are for the engine, which hangs up
        signal.signal(signal_number, signal.SIG_IGN)
    os.dup2(2, 1)  # what site code prints must not look like what the engine says
    link = socket.socket(fileno=int(number))
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    tables, apply_maps = registry.tables(map(Path, folders)), registry.maps()
    if tables is None or apply_maps is None:
        raise Configuration("converting: no mapping tables are installed", advice="Reinstall the package interlock.")
    converting = Converting(tables, apply_maps)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)
    serve(link, converting)


if __name__ == "__main__":
    main(sys.argv[1:])
