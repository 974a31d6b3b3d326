"""What engine and child say to each other: frames of two parts, a small one in JSON and a payload as it is.

Invariant: nothing that comes over is ever executed; what a converter raised comes back as a type and a place, without
values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from engine import __version__, registry
from engine.channels.site import names_of
from engine.errors import Held
from engine.model import Converted, Finding
from engine.ports import Tables
from engine.values import value
from engine.wiring import Channel, DestinationSpec, MapRule, Retry, SourceSpec

_LENGTHS = struct.Struct("!II")
_FINDING = tuple(field.name for field in dataclasses.fields(Finding))

Frame = tuple[bytes, bytes]


def frame(head: object, payload: bytes = b"") -> tuple[bytes, bytes]:
    """A frame, as what goes before the payload, and the payload."""
    small = orjson.dumps(head)
    return _LENGTHS.pack(len(small), len(payload)) + small, payload


class Frames:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        kept = self._bytes
        kept += data
        at = 0
        while len(kept) - at >= _LENGTHS.size:
            small, large = _LENGTHS.unpack_from(kept, at)
            begin = at + _LENGTHS.size
            middle, end = begin + small, begin + small + large
            if len(kept) < end:
                break
            with memoryview(kept) as view:
                found = bytes(view[begin:middle]), bytes(view[middle:end])
            at = end
            yield found
        del kept[:at]


# what the engine says: ["wiring", channel], ["tables"], ["convert", channel, destination, received_at] + message


def show_channel(channel: Channel) -> dict[str, Any]:
    """A channel's wiring as JSON can hold it; its text stays here."""
    shown = dataclasses.asdict(dataclasses.replace(channel, text=""))
    return {**shown, "folder": str(channel.folder)}


def read_channel(shown: dict[str, Any]) -> Channel:
    """The channel that `show_channel` wrote."""
    source = SourceSpec(**{**shown["source"], "accept": tuple(shown["source"]["accept"])})
    return Channel(
        **{
            **shown,
            "source": source,
            "destinations": tuple(_read_destination(one) for one in shown["destinations"]),
            "maps": tuple(MapRule(**one) for one in shown["maps"]),
            "folder": Path(shown["folder"]),
        }
    )


def _read_destination(shown: dict[str, Any]) -> DestinationSpec:
    when = shown["when"]
    if isinstance(when, dict):
        when = {fact: tuple(values) for fact, values in when.items()}
    return DestinationSpec(**{**shown, "when": when, "retry": Retry(**shown["retry"])})


def code_of(channel: Channel) -> str:
    """Names the code that converts for a channel, as this process loaded it."""
    total = hashlib.sha256(f"{__version__} {channel.revision}".encode())
    for dotted in sorted(names_of(channel)):
        total.update(f"\0{dotted}\0{registry.code(dotted)}".encode())
    return total.hexdigest()[:16]


def tables_of(tables: Tables) -> str:
    """Names the content of all tables, as this process has them now."""
    text = "\n".join(f"{name} {tables.revision(name)}" for name in sorted(tables.names()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# what a child says: ["ready"] once, then one answer a message, in the order in which it was given them


@value
class Raised:
    """What a converter raised, as much of it as may be told."""

    error: str
    where: str


@value
class Answered:
    """A child's answer, and which code and tables it is from."""

    used: tuple[str, str]
    result: Converted | Held | Raised | None  # None: this child cannot convert for that channel


def show_converted(converted: Converted, code: str, tables: str) -> tuple[bytes, bytes]:
    """The answer that a message was converted."""
    findings = [[getattr(finding, name) for name in _FINDING] for finding in converted.findings]
    small = [converted.content_type, findings, dict(converted.tables), dict(converted.resources)]
    payload = converted.payload
    if type(payload) is not bytes:
        payload = bytes(memoryview(payload))  # raises for what is no bytes at all
    return frame(["done", code, tables, *small], payload)


def show_held(error: Held, code: str, tables: str) -> tuple[bytes, bytes]:
    """The answer that a message must not go on by itself."""
    return frame(["held", code, tables, error.text, error.code, error.where, error.advice])


def show_raised(error: BaseException, code: str, tables: str) -> tuple[bytes, bytes]:
    """The answer that a converter raised: its type and its place, never its values."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
    return frame(["raised", code, tables, type(error).__name__, where])


def show_unfit() -> tuple[bytes, bytes]:
    """The answer of a child that could not take up the channel."""
    return frame(["unfit", "", ""])


def read_answer(small: bytes, payload: bytes) -> Answered:
    """What a child answered."""
    kind, code, tables, *rest = orjson.loads(small)
    if kind == "done":
        content_type, findings, revisions, resources = rest
        found = tuple([Finding(*one) for one in findings])
        return Answered((code, tables), Converted(payload, content_type, found, revisions, resources))
    if kind == "held":
        text, reason, where, advice = rest
        return Answered((code, tables), Held(text, code=reason, where=where, advice=advice))
    if kind == "raised":
        return Answered((code, tables), Raised(*rest))
    return Answered((code, tables), None)
