"""Names to parts: URL scheme to connector, kind to format, dotted name to function, entry points of third parties.

Nothing is imported before it is used, and the engine names no conversion: what is not built in comes by name alone.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from engine.errors import Configuration, NotFound
from engine.knobs import Knob
from engine.ports import ApplyMaps, Destination, DestinationFactory, Format, Running, Source, SourceFactory, Tables
from engine.wiring import Channel, DestinationSpec

#: Built-in connectors by URL scheme. A scheme after "+" is the transport: one module serves both of its forms.
CONNECTORS: Mapping[str, str] = {
    "mllp": "engine.connectors.mllp",
    "mllps": "engine.connectors.mllp",
    "http": "engine.connectors.http",
    "https": "engine.connectors.http",
    "fhir+http": "engine.connectors.fhir",
    "fhir+https": "engine.connectors.fhir",
    "files": "engine.connectors.files",
    "sftp": "engine.connectors.sftp",
    "memory": "engine.connectors.memory",
}

#: Built-in formats by kind: the module and the class in it.
FORMATS: Mapping[str, str] = {"fhir": "engine.formats.fhir:Fhir", "hl7v2": "engine.formats.hl7v2:Hl7v2"}

CONNECTOR_GROUP = "interlock.connectors"
FORMAT_GROUP = "interlock.formats"
CONTROL_GROUP = "interlock.control"
MAPPING_GROUP = "interlock.mappings"
TABLE_GROUP = "interlock.tables"
MAP_GROUP = "interlock.maps"


class Connector(Protocol):
    """What a connector's module exports; a side that it does not have it leaves out, with its knobs.

    The factories judge address and knobs (`Configuration`) and open nothing: a check makes every connector.
    """

    SOURCE_KNOBS: tuple[Knob, ...]
    DESTINATION_KNOBS: tuple[Knob, ...]
    source: SourceFactory
    destination: DestinationFactory


def plugins(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of a group, by name. Nothing is loaded."""
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}


def schemes() -> list[str]:
    """Every URL scheme that a connector serves."""
    return sorted({*CONNECTORS, *plugins(CONNECTOR_GROUP)})


def kinds() -> list[str]:
    """Every format there is."""
    return sorted({*FORMATS, *plugins(FORMAT_GROUP)})


@cache
def connector(scheme: str) -> Connector:
    """The connector of a URL scheme.

    Raises:
        NotFound: when there is none.
    """
    if scheme in CONNECTORS:
        return cast(Connector, importlib.import_module(CONNECTORS[scheme]))
    return cast(Connector, _plugin(CONNECTOR_GROUP, scheme, "connector"))


def source(channel: Channel) -> Source:
    """The channel's source, not yet started.

    Raises:
        NotFound: when its scheme has no source.
    """
    found = connector(scheme_of(channel.source.listen))
    if not hasattr(found, "source"):
        raise NotFound("finding a source: this scheme is for destinations only", where=channel.name)
    return found.source(channel.name, channel.source)


def destination(channel: Channel, spec: DestinationSpec) -> Destination:
    """One of the channel's destinations, not yet connected.

    Raises:
        NotFound: when its scheme has no destination.
    """
    found = connector(scheme_of(spec.to))
    if not hasattr(found, "destination"):
        raise NotFound("finding a destination: this scheme is for sources only", where=f"{channel.name}/{spec.name}")
    return found.destination(channel.name, spec)


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case; empty when it has none."""
    scheme, colon, _ = url.partition(":")
    return scheme.lower() if colon else ""


@cache
def format(kind: str) -> Format:
    """The format of a kind, one instance a process.

    Raises:
        NotFound: when there is none.
    """
    if kind in FORMATS:
        return cast(Format, _attribute(FORMATS[kind])())
    return cast(Format, _plugin(FORMAT_GROUP, kind, "format")())


def facts(kind: str) -> Mapping[str, str]:
    """The facts that `when` may ask of a format, with their meaning: FACTS of the module that is registered.

    Raises:
        NotFound: when there is no such format.
    """
    module = FORMATS[kind].partition(":")[0] if kind in FORMATS else _point(FORMAT_GROUP, kind, "format").module
    return cast(Mapping[str, str], getattr(importlib.import_module(module), "FACTS", {}))


def tables(folders: Iterable[Path] = ()) -> Tables | None:
    """The mapping tables of the installed provider, given the site's folders; None when none is installed."""
    for point in plugins(TABLE_GROUP).values():
        return cast(Tables, point.load()(tuple(folders)))
    return None


def maps() -> ApplyMaps | None:
    """What carries out a channel's `[[map]]` rules; None when no provider is installed."""
    for point in plugins(MAP_GROUP).values():
        return cast(ApplyMaps, point.load())
    return None


def running(channel: Channel) -> Running:
    """The channel with every name resolved, taking messages.

    Raises:
        Configuration, NotFound: when a name resolves to nothing; a channel that was checked does not raise.
    """
    specs = channel.destinations
    read = format(channel.source.format)
    if callable(as_wanted := getattr(read, "of", None)):  # a format with settings of its own
        read = as_wanted(channel.source)
    return Running(
        channel,
        read,
        {spec.name: resolve(spec.convert) for spec in specs if spec.convert},
        {spec.name: resolve(spec.when) for spec in specs if isinstance(spec.when, str) and spec.when},
        effort=getattr(read, "effort", 1),
    )


def _plugin(group: str, name: str, what: str) -> Any:
    return _point(group, name, what).load()


def _point(group: str, name: str, what: str) -> importlib.metadata.EntryPoint:
    point = plugins(group).get(name)
    if point is None:
        raise NotFound(f"finding a {what}: there is none of that name", advice=f"Install a package with {group}.")
    return point


@cache
def resolve(dotted: str) -> Callable[..., Any]:
    """The function that "package.module:function" names.

    Raises:
        Configuration: when it cannot be imported or is no function; the text says which, without values.
    """
    function = _attribute(dotted)
    if not callable(function):
        raise Configuration(f'resolving "{dotted}": it is not a function', code="name")
    code(dotted)  # the digest of the code that runs, before somebody edits the file
    return cast(Callable[..., Any], function)


def conversion_knobs(dotted: str) -> tuple[Knob, ...]:
    """The knobs of a converter: what `KNOBS` of the module that its name begins with says, else none.

    Raises:
        Configuration: when the module cannot be imported.
    """
    found: tuple[Knob, ...] = getattr(_module(dotted.partition(":")[0], dotted), "KNOBS", ())
    return found


CheckMaps = Callable[[Mapping[str, str]], Iterable[Configuration]]
"""Judges a channel's own maps, texts by file name; each fault's `where` is NAME.csv:LINE."""


def map_check(dotted: str) -> CheckMaps | None:
    """What judges the maps for a converter: `check_maps` of the module that its name begins with, else None.

    Raises:
        Configuration: when the module cannot be imported.
    """
    found: CheckMaps | None = getattr(_module(dotted.partition(":")[0], dotted), "check_maps", None)
    return found


def _attribute(dotted: str) -> Any:
    module_name, colon, name = dotted.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise Configuration(f'resolving "{dotted}": write it as package.module:function', code="name")
    module = _module(module_name, dotted)
    try:
        return getattr(module, name)
    except AttributeError:
        raise _no_function(module, name, dotted) from None


def _module(name: str, dotted: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever site code does when it is imported is its author's to mend
        text = f'resolving "{dotted}": importing {name} raised {type(error).__name__}'
        raise Configuration(text, code="name", advice=_import_advice(error)) from error


def _import_advice(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name}; install its package in the engine's environment"
    return "import it in a Python shell to see the fault"


def _no_function(module: ModuleType, name: str, dotted: str) -> Configuration:
    functions = ", ".join(sorted(n for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_")))
    advice = f"it has {functions}" if functions else "it has no functions"
    return Configuration(f'resolving "{dotted}": the module has no "{name}"', code="name", advice=advice)


@cache
def code(dotted: str) -> str:
    """SHA-256 of the source behind a dotted name: its module and the one that defines the function, as loaded."""
    return _digest(_source_files(dotted))


def changed(dotted: str) -> bool:
    """True when the source behind a name is no longer what this process loaded: only a restart takes it."""
    return code(dotted) != _digest(_source_files(dotted))


def _source_files(dotted: str) -> list[Path]:
    function = inspect.unwrap(_attribute(dotted))
    modules = (importlib.import_module(dotted.partition(":")[0]), inspect.getmodule(function))
    files = {module.__file__ for module in modules if module is not None and module.__file__}
    return [Path(file) for file in sorted(files)]


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    return total.hexdigest()
