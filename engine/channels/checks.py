"""What must hold of a channel beyond the types of its keys: names, references, policies that belong together.

A check never opens a connection and never runs the channel's code; it says what would go wrong later, with its line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from hl7apy import load_reference
from hl7apy.exceptions import HL7apyException

from engine.channels.faults import Faults, did_you_mean
from engine.channels.parts import check_convert, check_destination, check_format, check_source, check_when
from engine.channels.toml_lines import KeyPath
from engine.connectors.secret import read_secret
from engine.errors import Configuration
from engine.formats.fhir.checking import INSTALL
from engine.registry import scheme_of
from engine.wiring import Channel, DestinationSpec

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIELD = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9][0-9]?)")

#: How `accept` writes the types of each format, and what it may be checked by.
_TYPES = {
    "hl7v2": (re.compile(r"\*|[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2})?"), '"ORU^R01", "ORU" or "*"'),
    "fhir": (
        re.compile(r"\*|[A-Z][A-Za-z]+|Bundle/[a-z-]+(/[A-Z][A-Za-z]+)?"),
        '"Observation", "Bundle/transaction", "Bundle/transaction/DiagnosticReport" or "*"',
    ),
}
_VALIDATED = {"hl7v2": ("", "hl7apy"), "fhir": ("", "shape", "off")}

#: Types whose components 1 to 3 are a code and 4 to 6 its alternate; OBX-5 says its own type in OBX-2.
_CODED = frozenset({"CE", "CF", "CNE", "CWE", "varies"})

#: Between them they know every field of 2.1 to 2.8.2 that still matters; a field coded in one of them may be mapped.
_VERSIONS = ("2.5.1", "2.8.2", "2.3.1")


@dataclass(frozen=True, slots=True)
class Known:
    """What a check may ask of the site around the channel. None means: nothing is known, so nothing is judged."""

    organization: Callable[[str], bool] | None = None
    tables: Collection[str] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    running: frozenset[str] = frozenset()


def check(channel: Channel, faults: Faults, known: Known) -> None:
    """Everything that can be said of one channel without the others."""
    _check_name(channel, faults)
    _check_organization(channel.owner, ("owner",), faults, known)
    _check_source(channel, faults)
    _check_answers(channel, faults)
    _check_maps(channel, faults, known)
    names: set[str] = set()
    for at, spec in enumerate(channel.destinations):
        _check_destination(channel, spec, ("destination", at), faults, known)
        if spec.name and spec.name in names:
            faults.error(("destination", at, "name"), f'two destinations are named "{spec.name}"', "rename one")
        names.add(spec.name)


def _check_name(channel: Channel, faults: Faults) -> None:
    folder = channel.folder.resolve().name
    if not _NAME.fullmatch(channel.name):
        faults.error(
            ("name",), "a channel's name has a-z, 0-9 and single hyphens only", f'for example "{_safe(channel.name)}"'
        )
    elif channel.name != folder:
        faults.error(
            ("name",), f'the channel is named "{channel.name}" and its folder "{folder}"', "give both one name"
        )


def _safe(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "my-channel"


def _check_organization(name: str, path: KeyPath, faults: Faults, known: Known) -> None:
    if not name or name == "site":
        return
    if known.organization is None:
        text = f'no organizations are set up, so "{name}" is not checked and the channel belongs to the site'
        faults.warning(path, text, "leave it out until organizations are set up")
    elif not known.organization(name):
        faults.error(path, f'there is no organization "{name}"', "create it first, or leave it out")


def _check_source(channel: Channel, faults: Faults) -> None:
    source = channel.source
    if not source.listen:
        return
    check_source(channel, faults)
    check_format(source.format, faults)
    if source.timezone and source.timezone not in _zones():
        nearest = did_you_mean(source.timezone, _zones()) or 'for example "America/Chicago"'
        faults.error(("source", "timezone"), f'unknown timezone "{source.timezone}"', nearest)
    if source.format in _TYPES:
        pattern, example = _TYPES[source.format]
        for at, name in enumerate(source.accept):
            if not pattern.fullmatch(name):
                faults.error(("source", "accept", at), f'"{name}" is no message type', f"for example {example}")
    if source.validate not in _VALIDATED.get(source.format, ("",)):
        text = f'"{source.validate}" does not check {source.format}'
        faults.error(("source", "validate"), text, "leave validate out")
    if scheme_of(source.listen).startswith("fhir+") and source.format != "fhir":
        faults.error(("source", "format"), f"a fhir source does not take {source.format}", 'write format = "fhir"')


@cache
def _zones() -> frozenset[str]:
    """The names of the time zone database; reading its folders costs milliseconds."""
    return frozenset(available_timezones())


def _check_answers(channel: Channel, faults: Faults) -> None:
    answering = [at for at, spec in enumerate(channel.destinations) if spec.answers]
    if channel.source.answer == "commit":
        for at in answering:
            faults.warning(
                ("destination", at, "answers"), 'answers has no effect while the source\'s answer is "commit"'
            )
    elif not answering:
        faults.error(
            ("source", "answer"), "no destination answers the sender", "write answers = true at one destination"
        )
    for at in answering[1:] if channel.source.answer == "application" else ():
        faults.error(("destination", at, "answers"), "a second destination answers the sender", "exactly one may")


def _check_maps(channel: Channel, faults: Faults, known: Known) -> None:
    for at, rule in enumerate(channel.maps):
        path: KeyPath = ("map", at)
        if channel.source.format != "hl7v2":
            faults.error(path, f"[[map]] is for hl7v2, and the source's format is {channel.source.format}")
        elif rule.field:
            _check_field(rule.field, (*path, "field"), faults)
        if rule.table and known.tables is not None and rule.table not in known.tables:
            faults.error((*path, "table"), f'there is no table "{rule.table}"', did_you_mean(rule.table, known.tables))
        if any(rule.field == other.field for other in channel.maps[:at]):
            faults.error((*path, "field"), f"{rule.field} is mapped twice", "keep one [[map]] a field")


def _check_field(name: str, path: KeyPath, faults: Faults) -> None:
    match = _FIELD.fullmatch(name)
    if match is None:
        faults.error(path, f'"{name}" is not a field', 'write segment and number, for example "OBX-3"')
    elif name[0] != "Z" and not coded(name):
        faults.error(
            path, f"{name} is not a coded field", "a coded field has a code, a text and a system (CE, CWE, CNE)"
        )


@cache
def coded(name: str) -> bool:
    """True when a field ("OBX-3") carries a code with text, system and alternate in some version of HL7 v2."""
    for version in _VERSIONS:
        try:
            if load_reference(name.replace("-", "_"), "Field", version)[2] in _CODED:
                return True
        except HL7apyException:
            continue
    return False


def _check_destination(channel: Channel, spec: DestinationSpec, path: KeyPath, faults: Faults, known: Known) -> None:
    if spec.name and not _NAME.fullmatch(spec.name):
        faults.error(
            (*path, "name"),
            "a destination's name has a-z, 0-9 and single hyphens only",
            f'for example "{_safe(spec.name)}"',
        )
    _check_organization(spec.organization, (*path, "for"), faults, known)
    if spec.to:
        check_destination(channel, spec, path, faults)
    check_convert(spec, path, faults)
    check_when(spec.when, channel.source.format, (*path, "when"), faults)
    _check_retry(spec, (*path, "retry"), faults)
    _check_validate(spec, (*path, "validate"), faults, known)
    _check_secrets(spec, path, faults, known)


def _check_retry(spec: DestinationSpec, path: KeyPath, faults: Faults) -> None:
    if spec.retry.first > spec.retry.cap:
        faults.error((*path, "first"), "the first wait is longer than the cap", "raise cap or lower first")
    if spec.retry.cap > spec.retry.give_up:
        faults.error((*path, "cap"), "the longest wait is longer than give_up", "raise give_up or lower cap")


def _check_validate(spec: DestinationSpec, path: KeyPath, faults: Faults, known: Known) -> None:
    """What checks the output must be installed here, and for profiles the site must name its definitions."""
    needed = {"off": (), "shape": ("fhirkit",), "profile": ("fhirkit", "pyfhircheck")}[spec.validate]
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        faults.error(path, f"this needs {' and '.join(missing)}", INSTALL)
    elif spec.validate == "profile" and not known.environ.get("INTERLOCK_FHIR_DEFINITIONS"):
        faults.warning(
            path, "no FHIR definitions are set here", "set INTERLOCK_FHIR_DEFINITIONS where the engine starts"
        )


def _check_secrets(spec: DestinationSpec, path: KeyPath, faults: Faults, known: Known) -> None:
    if spec.secret:
        _check_secret(spec.secret, (*path, "secret"), faults, known)
    for name, value in spec.options.items():
        if name.endswith(("password", "passphrase", "secret", "token")) and isinstance(value, str) and value:
            _check_secret(value, (*path, "options", name), faults, known)
    if urlsplit(spec.to).password:
        faults.error((*path, "to"), "the URL holds a password", 'write secret = "env:NAME" instead')


def _check_secret(reference: str, path: KeyPath, faults: Faults, known: Known) -> None:
    kind, _, name = reference.partition(":")
    if kind not in {"env", "file"} or not name:
        faults.error(path, "a secret is written by reference, never itself", 'write "env:NAME" or "file:PATH"')
    elif kind == "env" and not known.environ.get(name):
        faults.warning(path, f"the environment variable {name} is not set here", "set it where the engine starts")
    elif kind == "file":
        _check_secret_file(reference, path, faults)


def _check_secret_file(reference: str, path: KeyPath, faults: Faults) -> None:
    try:
        read_secret(reference)
    except Configuration as error:
        faults.warning(path, error.text, error.advice)
