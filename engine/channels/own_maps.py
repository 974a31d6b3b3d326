"""Maps beside channel.toml: `maps/*.csv` of a channel's folder, which its conversions take instead of their own.

They are read with the channel and belong to its revision: what converts a message never opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine import registry
from engine.channels.faults import Fault, Faults
from engine.errors import Configuration
from engine.wiring import Channel

FOLDER = "maps"


def read_own_maps(folder: Path, faults: Faults) -> dict[str, str]:
    """The text of each map of a channel, by file name."""
    found = {}
    for path in sorted((folder / FOLDER).glob("*.csv")):
        try:
            found[path.name] = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            faults.found.append(Fault(str(path), 1, f"reading the file: {error.strerror}"))
        except UnicodeDecodeError:
            faults.found.append(Fault(str(path), 1, "the file is not UTF-8", "save it as UTF-8"))
    return found


def check_own_maps(channel: Channel, faults: Faults) -> None:
    """A conversion of the channel takes them, and each is one that it can use."""
    names = sorted({spec.convert for spec in channel.destinations if spec.convert})
    if not channel.own_maps:
        return
    checks = [check for name in names if (check := _check_of(name)) is not None]
    if not checks:
        text = "no conversion of this channel takes maps"
        faults.found.append(Fault(str(channel.folder / FOLDER), 1, text, "remove the folder, or name a conversion"))
    found = {(fault.where, fault.text, fault.advice) for check in checks for fault in check(channel.own_maps)}
    for where, text, advice in sorted(found):
        name, _, line = where.rpartition(":")
        faults.found.append(Fault(str(channel.folder / FOLDER / name), int(line), text, advice))


def _check_of(dotted: str) -> registry.CheckMaps | None:
    try:
        return registry.map_check(dotted)
    except Configuration:
        return None  # a conversion that cannot be imported is a fault of its own


def text_of(own_maps: Mapping[str, str]) -> str:
    """What a revision is made of: nothing where there are no maps."""
    return "".join(f"\0{name}\0{text}" for name, text in sorted(own_maps.items()))
