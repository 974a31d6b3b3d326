"""The parts that a channel names: connectors and their knobs, formats, converters, predicates, facts.

They are looked up, made of their specs and their signatures compared; nothing is opened and no function is run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from engine import registry
from engine.channels.faults import Faults, did_you_mean
from engine.channels.toml_lines import KeyPath
from engine.errors import Configuration, NotFound
from engine.knobs import Given, Knob, read_options
from engine.wiring import Channel, DestinationSpec

Side = Literal["source", "destination"]


def check_source(channel: Channel, faults: Faults) -> None:
    """The address to listen at has a connector, and every option is one of its knobs."""
    spec = channel.source
    if _check_connector(spec.listen, spec.options, "source", ("source",), faults):
        _check_made(lambda: registry.source(channel), ("source", "listen"), faults)


def check_destination(channel: Channel, spec: DestinationSpec, path: KeyPath, faults: Faults) -> None:
    """The address to deliver to has a connector, and every option is one of its knobs."""
    if _check_connector(spec.to, spec.options, "destination", path, faults):
        _check_made(lambda: registry.destination(channel, spec), (*path, "to"), faults)


def _check_connector(url: str, options: Mapping[str, Given], side: Side, path: KeyPath, faults: Faults) -> bool:
    key: KeyPath = (*path, "listen" if side == "source" else "to")
    scheme, before = registry.scheme_of(url), len(faults.found)
    if scheme not in registry.schemes():
        text = f'no connector serves "{scheme}"' if scheme else "this is no URL"
        faults.error(key, text, did_you_mean(scheme, registry.schemes()))
        return False
    connector = registry.connector(scheme)
    if not hasattr(connector, side):
        faults.error(key, f'"{scheme}" has no {side}', f"use it as a {'destination' if side == 'source' else 'source'}")
        return False
    _check_url(url, key, faults)
    knobs = connector.SOURCE_KNOBS if side == "source" else connector.DESTINATION_KNOBS
    _check_knobs(options, knobs, (*path, "options"), faults)
    return len(faults.found) == before


def _check_knobs(given: Mapping[str, Given], knobs: Sequence[Knob], path: KeyPath, faults: Faults) -> None:
    for name, value in given.items():
        try:
            read_options({name: value}, knobs, "")
        except Configuration as error:
            faults.error((*path, name), error.text.removeprefix("reading options: "), error.advice)


def _check_url(url: str, key: KeyPath, faults: Faults) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        faults.error(key, "the URL's host or port cannot be read", "write scheme://host:port, the port 0 to 65535")


def _check_made(make: Callable[[], object], key: KeyPath, faults: Faults) -> None:
    """A connector judges its own address and its knobs together when it is made, which opens nothing."""
    try:
        make()
    except Configuration as error:
        faults.error(key, error.text, error.advice)


def check_format(kind: str, faults: Faults) -> None:
    """The source's format is one there is."""
    if kind not in registry.kinds():
        faults.error(("source", "format"), f'unknown format "{kind}"', did_you_mean(kind, registry.kinds()))


def check_convert(spec: DestinationSpec, path: KeyPath, faults: Faults) -> None:
    """The converter can be imported, takes (parsed, tables, context), and has every knob that is given."""
    before = len(faults.found)
    if spec.convert:
        _check_function(spec.convert, ("parsed", "tables", "context"), (*path, "convert"), faults)
    if len(faults.found) == before:
        knobs = registry.conversion_knobs(spec.convert) if spec.convert else ()
        _check_knobs(spec.conversion, knobs, (*path, "conversion"), faults)


def check_when(when: Mapping[str, tuple[str, ...]] | str, kind: str, path: KeyPath, faults: Faults) -> None:
    """The predicate takes (identity), or every fact is one that the format has."""
    if isinstance(when, str):
        _check_function(when, ("identity",), path, faults)
        return
    try:
        facts = registry.facts(kind)
    except NotFound:
        return  # the unknown format is a fault of its own
    for fact in when:
        if fact not in facts:
            faults.error(
                (*path, fact), f'unknown fact "{fact}"', did_you_mean(fact, facts) or "docs/channels.md lists the facts"
            )


def _check_function(dotted: str, arguments: tuple[str, ...], path: KeyPath, faults: Faults) -> None:
    try:
        function = registry.resolve(dotted)
    except Configuration as error:
        faults.error(path, error.text, error.advice)
        return
    wanted = f"define it as ({', '.join(arguments)})"
    if inspect.iscoroutinefunction(function):
        faults.error(path, f'"{dotted}" is asynchronous; it must be an ordinary function', wanted)
    elif not _takes(function, len(arguments)):
        faults.error(path, f'"{dotted}" does not take ({", ".join(arguments)})', wanted)
    elif registry.changed(dotted):
        faults.warning(path, f'the code of "{dotted}" has changed since it was loaded', "restart the engine to take it")


def _takes(function: object, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
