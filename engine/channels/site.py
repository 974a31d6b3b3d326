"""channel.toml to a frozen Channel: strict, and every fault with its file and line.

A channel with an error is never half read: there is either the whole Channel or the list of what to mend.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine import registry
from engine.channels.checks import Known, check
from engine.channels.faults import Fault, Faults, errors
from engine.channels.keys import CHANNEL, DESTINATION, DUPLICATES, MAP, PATIENT, RETRY, SOURCE
from engine.channels.listeners import conflicts
from engine.channels.own_maps import check_own_maps, read_own_maps, text_of
from engine.channels.toml_lines import KeyPath, Lines
from engine.channels.values import read_table
from engine.wiring import Channel, DestinationSpec, MapRule, Retry, SourceSpec

FILE = "channel.toml"


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of channels as read: those that may run, those that may not (by folder name), and every fault."""

    channels: Mapping[str, Channel]
    broken: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    readable: bool = True  # False: nothing is known of any channel

    @property
    def sound(self) -> bool:
        """True when nothing keeps a channel from running."""
        return not errors(self.faults)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload does, by channel name. A channel in none of these has not changed.

    `kept` runs on with its old revision because the new one has an error: a misspelt key must not stop a channel.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def inspect_channel(folder: Path, known: Known) -> tuple[Channel | None, list[Fault]]:
    """The channel, or None when it has an error, and every fault."""
    file = folder / FILE
    try:
        text = file.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        return None, [Fault(str(file), 1, f"reading the file: {error.strerror}", "write a channel.toml here")]
    except UnicodeDecodeError:
        return None, [Fault(str(file), 1, "the file is not UTF-8", "save it as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax(file, text, error)]
    faults = Faults(str(file), Lines(text))
    channel = replace(_channel(document, folder, faults), own_maps=read_own_maps(folder, faults))
    check(channel, faults, known)
    check_own_maps(channel, faults)
    if errors(faults.found):
        return None, sorted(faults.found)
    return replace(channel, text=text, revision=_revision(channel, text)), sorted(faults.found)


def read_site(root: Path, known: Known | None = None) -> Site:
    """Every channel below a folder; one with an error is left out, and so is one whose address another has."""
    try:
        folders = sorted(f for f in root.iterdir() if f.name[0] not in "._" and f.is_dir())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        text = "there is no such folder" if missing else f"reading the folder: {error.strerror}"
        fault = Fault(str(root), 1, text, "name the folder of channels")
        return Site({}, faults=(fault,), readable=False)
    known = known or Known()
    channels: dict[str, Channel] = {}
    faults: list[Fault] = []
    for folder in folders:
        channel, found = inspect_channel(folder, known)
        faults += found
        if channel is not None:
            channels[channel.name] = channel
    for channel, fault in conflicts(sorted(channels.values(), key=lambda c: c.name not in known.running)):
        faults.append(fault)
        del channels[channel.name]
    broken = frozenset(folder.name for folder in folders) - channels.keys()
    return Site(channels, broken, tuple(sorted(faults)))


def diff(running: Mapping[str, Channel], site: Site) -> Changes:
    """What changes when a site is taken: by revision, so that touching a file changes nothing.

    A folder of channels that is not there, e.g. a file system not mounted yet, changes nothing: all run on.
    """
    if not site.readable:
        return Changes((), (), (), kept=tuple(sorted(running)))
    new, both = site.channels, site.channels.keys() & running.keys()
    return Changes(
        added=tuple(sorted(new.keys() - running.keys())),
        changed=tuple(sorted(name for name in both if new[name].revision != running[name].revision)),
        removed=tuple(sorted(running.keys() - new.keys() - site.broken)),
        kept=tuple(sorted(running.keys() & site.broken)),
    )


def _syntax(file: Path, text: str, error: tomllib.TOMLDecodeError) -> Fault:
    what, _, place = str(error).partition(" (at ")
    line = re.search(r"line (\d+)", place)
    return Fault(str(file), int(line[1]) if line else text.rstrip().count("\n") + 1, f"not TOML: {what}")


def _revision(channel: Channel, text: str) -> str:
    """Twelve digits that name this wiring: of channel.toml, of its own maps and of the code that it names."""
    total = hashlib.sha256((text + text_of(channel.own_maps)).encode())
    for dotted in sorted(names_of(channel)):
        total.update(f"\0{dotted}\0{registry.code(dotted)}".encode())
    return total.hexdigest()[:12]


def names_of(channel: Channel) -> set[str]:
    """The dotted names that a channel mentions: converters and predicates."""
    predicates = {spec.when for spec in channel.destinations if isinstance(spec.when, str)}
    return {spec.convert for spec in channel.destinations if spec.convert} | predicates


def _channel(document: Mapping[str, Any], folder: Path, faults: Faults) -> Channel:
    given = read_table(document, CHANNEL, (), faults)
    kind = given.get("class", "message")
    return Channel(
        name=given.get("name", folder.name),
        title=given.get("title", ""),
        kind=kind,
        source=_source(given.get("source", {}), faults),
        destinations=tuple(
            _destination(table, kind, ("destination", at), faults)
            for at, table in enumerate(given.get("destination", ()))
        ),
        maps=tuple(_map(table, kind, ("map", at), faults) for at, table in enumerate(given.get("map", ()))),
        folder=folder,
        **_named(given, {"owner": "owner", "environment": "environment"}),
        **_named(
            read_table(given.get("duplicates", {}), DUPLICATES, ("duplicates",), faults),
            {"within": "duplicates_within"},
        ),
    )


def _named(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Values under the names of the dataclass; what was not given keeps the dataclass's default."""
    return {field: given[key] for key, field in names.items() if key in given}


def _source(table: Mapping[str, Any], faults: Faults) -> SourceSpec:
    given = read_table(table, SOURCE, ("source",), faults) if table else {}
    patient = read_table(given.pop("patient", {}), PATIENT, ("source", "patient"), faults)
    return SourceSpec(
        listen=given.pop("listen", ""),
        **_named(patient, {"authority": "patient_authority", "type": "patient_type"}),
        **given,
    )


def _map(table: Mapping[str, Any], kind: str, path: KeyPath, faults: Faults) -> MapRule:
    given = read_table(table, MAP, path, faults)
    given.setdefault("unmapped", "pass" if kind in {"result", "message"} else "hold")
    return MapRule(**{"field": "", "table": "", **given})


def _destination(table: Mapping[str, Any], kind: str, path: KeyPath, faults: Faults) -> DestinationSpec:
    given = read_table(table, DESTINATION, path, faults)
    given.setdefault("in_doubt", "hold" if kind == "prescription" else "resend")
    retry = read_table(given.pop("retry", {}), RETRY, (*path, "retry"), faults)
    if isinstance(given.get("when"), dict):
        given["when"] = _facts(given["when"], (*path, "when"), faults)
    organization = _named(given, {"for": "organization"})
    given.pop("for", None)
    return DestinationSpec(**{"name": "", "to": "", **given}, **organization, retry=Retry(**retry))


def _facts(when: Mapping[str, Any], path: KeyPath, faults: Faults) -> dict[str, tuple[str, ...]]:
    facts: dict[str, tuple[str, ...]] = {}
    for fact, values in when.items():
        wanted = [values] if isinstance(values, str) else values
        if isinstance(wanted, list) and wanted and all(isinstance(value, str) for value in wanted):
            facts[fact] = tuple(wanted)
        else:
            faults.error((*path, fact), f'"{fact}" must be a list of texts in quotes', f'for example {fact} = ["A"]')
    return facts
