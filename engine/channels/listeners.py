"""Two channels must not listen at the same place: the second would fail to start, or steal the first one's messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from engine.channels.faults import Fault
from engine.channels.toml_lines import Lines
from engine.wiring import Channel

_EVERYWHERE = frozenset({"0.0.0.0", "::", "*", ""})
_SOCKETS = frozenset({"mllp", "mllps", "http", "https", "fhir+http", "fhir+https"})


def conflicts(channels: Iterable[Channel]) -> Iterator[tuple[Channel, Fault]]:
    """Each channel whose place an earlier one has, with the fault."""
    earlier: list[Channel] = []
    for channel in channels:
        taken = next((other for other in earlier if same_place(other.source.listen, channel.source.listen)), None)
        if taken is None:
            earlier.append(channel)
            continue
        file, line = str(channel.folder / "channel.toml"), Lines(channel.text).line(("source", "listen"))
        yield (
            channel,
            Fault(file, line, f'channel "{taken.name}" listens there already', "choose another port or folder"),
        )


def same_place(one: str, other: str) -> bool:
    """True when two sources would take from the same socket or folder. Port 0 is a free one each time."""
    a, b = urlsplit(one), urlsplit(other)
    if a.scheme in _SOCKETS and b.scheme in _SOCKETS:
        hosts = {a.hostname or "", b.hostname or ""}
        return a.port == b.port and bool(a.port) and (len(hosts) == 1 or bool(hosts & _EVERYWHERE))
    return a.scheme == b.scheme and (a.netloc, a.path.rstrip("/")) == (b.netloc, b.path.rstrip("/"))
