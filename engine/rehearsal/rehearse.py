"""A channel's cases, rehearsed: messages in, and what comes out compared with what is expected, place by place.

A rehearsal touches no store and no wire and its clock stands still, so that a case gives the same result everywhere;
a case that expects nothing fails, because it could not find anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine import registry
from engine.authorize import authorize
from engine.errors import Held, Refused, Reply, TooLarge, Unreadable, Unroutable
from engine.identify import identify
from engine.model import Converted, DeliveryState, Identity, Verdict
from engine.ports import ApplyMaps, Running, Tables
from engine.rehearsal.cases import Case, Expectation, cases, read_expectation, write_missing
from engine.rehearsal.differences import Difference, hl7_differences, json_differences, text_differences
from engine.route import route
from engine.transform import transform
from engine.wiring import Channel, DestinationSpec

#: The message id that answers mention: one that no store gives.
MESSAGE = 1

NOTHING_EXPECTED = "(nothing is expected: run with --update, then read what was written)"

_COMPARE: Mapping[str, Callable[[bytes, bytes], Iterator[Difference]]] = {
    ".hl7": hl7_differences,
    ".json": json_differences,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """What conversions ask beside the message: tables, and what carries out the `[[map]]` rules."""

    tables: Tables
    apply_maps: ApplyMaps


@dataclass(slots=True)
class Played:
    """What became of a message: the verdict, and of each destination its output or why it has none."""

    verdict: str
    answer: bytes | None
    outputs: dict[str, Converted] = field(default_factory=dict)
    filtered: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)

    @property
    def findings(self) -> dict[str, list[str]]:
        """The codes of what each conversion found, where it found anything."""
        return {name: [f.code for f in output.findings] for name, output in self.outputs.items() if output.findings}


@dataclass(frozen=True, slots=True)
class Result:
    """What a rehearsal of one case found, and which expectations it wrote. It passed when nothing differs."""

    case: Case
    differences: tuple[Difference, ...] = ()
    written: tuple[Path, ...] = ()

    @property
    def passed(self) -> bool:
        """True when everything came as expected."""
        return not self.differences


def rehearse(channel: Channel, parts: Parts, *, update: bool = False) -> list[Result]:
    """Run every case of a channel.

    With `update`, expectations that are missing are written; none is written over, and none while a converter fails.
    """
    running = registry.running(channel)
    return [_rehearse(case, running, parts, update) for case in cases(channel)]


def _rehearse(case: Case, running: Running, parts: Parts, update: bool) -> Result:
    try:
        said = read_expectation(case)
    except ValueError as error:
        return Result(case, (Difference(case.file("toml").name, "an expectation", str(error)),))
    played = play(case.raw(), running, parts, said.at)
    written = tuple(_write(case, played)) if update and not played.dead else ()
    said = read_expectation(case) if written else said
    return Result(case, tuple(compare(case, said, played)), written)


def _write(case: Case, played: Played) -> Iterator[Path]:
    otherwise = Expectation(played.verdict, played.filtered, played.held, played.findings)
    outputs = {name: output.payload for name, output in played.outputs.items()}
    return write_missing(case, outputs, played.answer, otherwise)


def play(raw: bytes, running: Running, parts: Parts, at: int) -> Played:
    """The path without its effects: identify, authorize, route, answer, then maps and conversion of each delivery."""
    identity: Identity | None = None
    try:
        if len(raw) > running.channel.source.max_size:
            raise TooLarge(f"the message is larger than {running.channel.source.max_size} bytes")
        identity = identify(raw, running)
        authorize(identity, running)
        routes = route(identity, running)
    except (Refused, Unreadable, Unroutable) as error:
        verdict = Verdict(error.reply, error.code, error.text, error.where, message=MESSAGE, at=at)
        return Played(error.code, running.format.answer(identity, raw, verdict))
    played = Played("accepted", _accepted(raw, identity, running, at))
    for spec, found in zip(running.channel.destinations, routes, strict=True):
        if found.state is DeliveryState.FILTERED:
            played.filtered.append(spec.name)
        else:
            _convert(raw, running, spec, parts, at, played)
    return played


def _accepted(raw: bytes, identity: Identity, running: Running, at: int) -> bytes | None:
    """The positive answer; None where it is a destination's own (`answer = "application"`), which nobody gives here."""
    if running.channel.source.answer == "application":
        return None
    return running.format.answer(identity, raw, Verdict(Reply.ACCEPT, message=MESSAGE, at=at))


def _convert(raw: bytes, running: Running, spec: DestinationSpec, parts: Parts, at: int, played: Played) -> None:
    try:
        played.outputs[spec.name] = transform(raw, running, spec, parts.tables, parts.apply_maps, at)
    except Held as error:
        played.held[spec.name] = error.code
    except Exception as error:  # a converter may raise anything; on the path the delivery would be dead
        played.dead[spec.name] = type(error).__name__


def compare(case: Case, said: Expectation, played: Played) -> Iterator[Difference]:
    """Every difference between what a case expects and what came."""
    if said.verdict != played.verdict:
        yield Difference("verdict", said.verdict, played.verdict)
    yield from _without_output(said, played)
    if said.findings is not None:
        expected, came = json.dumps(said.findings).encode(), json.dumps(played.findings).encode()
        yield from _under("findings", json_differences(expected, came))
    expected_outputs = case.outputs()
    for name in dict.fromkeys([*played.outputs, *expected_outputs]):
        yield from _output(name, expected_outputs.get(name), played.outputs.get(name))
    yield from _answer(case.answer(), played)


def _without_output(said: Expectation, played: Played) -> Iterator[Difference]:
    """Destinations that got nothing, and why. Each must be named: a filter must not swallow in silence."""
    for name in sorted({*said.filtered} ^ {*played.filtered}):
        words = ("filtered", "wanted") if name in said.filtered else ("wanted", "filtered")
        yield Difference(name, *words)
    for name in sorted({*said.held, *played.held}):
        if said.held.get(name) != played.held.get(name):
            yield Difference(name, *(f"held: {held.get(name, 'no')}" for held in (said.held, played.held)))
    for name, error in sorted(played.dead.items()):
        yield Difference(name, "an output", f"dead: {error} was raised")


def _output(name: str, expected: Path | None, output: Converted | None) -> Iterator[Difference]:
    if expected is None:
        yield Difference(name, NOTHING_EXPECTED, "an output")
    elif output is None:
        yield Difference(name, expected.name, "no output")
    else:
        yield from _under(name, _compare(expected, output.payload))


def _answer(expected: Path | None, played: Played) -> Iterator[Difference]:
    """An answer is compared where one is expected; a message that is refused must expect one."""
    if expected is None and played.verdict != "accepted" and played.answer is not None:
        yield Difference("answer", NOTHING_EXPECTED, "an answer")
    elif expected is not None and played.answer is None:
        yield Difference("answer", expected.name, "no answer")
    elif expected is not None and played.answer is not None:
        yield from _under("answer", _compare(expected, played.answer))


def _compare(expected: Path, actual: bytes) -> Iterator[Difference]:
    return _COMPARE.get(expected.suffix, text_differences)(expected.read_bytes(), actual)


def _under(name: str, differences: Iterator[Difference]) -> Iterator[Difference]:
    return (Difference(f"{name}: {found.path}", found.expected, found.actual) for found in differences)
