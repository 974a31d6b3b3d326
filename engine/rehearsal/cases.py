"""The files of a channel's cases: NAME.in.EXT and, beside it, all that is expected of it.

    NAME.in.hl7                        the message, one segment a line
    NAME.DESTINATION.expected.json     what that destination gets (.hl7, .json, .txt)
    NAME.answer.hl7                    what the sender is answered
    NAME.toml                          what is expected otherwise: verdict, filtered, held, findings, at

Files are for people: written indented, one segment a line, and never written over.
"""

from __future__ import annotations

import glob
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.wiring import Channel

#: When a case is received, unless it says `at`: 2026-01-05 12:00:00 UTC.
STANDING_CLOCK = int(datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()) * 1_000_000

_ANSWERS = ("answer.hl7", "answer.json", "answer.txt")


@dataclass(frozen=True, slots=True)
class Case:
    """One message of a channel's cases/ folder."""

    channel: str
    name: str
    message: Path

    def file(self, ending: str) -> Path:
        """The case's file of that ending, whether it exists or not."""
        return self.message.with_name(f"{self.name}.{ending}")

    def outputs(self) -> dict[str, Path]:
        """The expected outputs there are, by destination."""
        found = sorted(self.message.parent.glob(f"{glob.escape(self.name)}.*.expected.*"))
        return {path.name.removeprefix(f"{self.name}.").rpartition(".expected.")[0]: path for path in found}

    def answer(self) -> Path | None:
        """The expected answer, or None where none is written."""
        return next((self.file(ending) for ending in _ANSWERS if self.file(ending).exists()), None)

    def raw(self) -> bytes:
        """The message as a sender would send it: in the file HL7 v2 stands one segment a line."""
        raw = self.message.read_bytes()
        if self.message.suffix != ".hl7" or b"\r" in raw.replace(b"\r\n", b""):
            return raw
        return raw.replace(b"\r\n", b"\r").replace(b"\n", b"\r")


def cases(channel: Channel) -> list[Case]:
    """A channel's cases, by name."""
    found = sorted(path for path in (channel.folder / "cases").glob("*.in.*") if path.is_file())
    return [Case(channel.name, path.name.rpartition(".in.")[0], path) for path in found]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What NAME.toml says. Every filtered and held destination must be named; `findings` None is not judged."""

    verdict: str = "accepted"
    filtered: Sequence[str] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    findings: Mapping[str, Sequence[str]] | None = None
    at: int = STANDING_CLOCK


KEYS = ("verdict", "filtered", "held", "findings", "at")


def read_expectation(case: Case) -> Expectation:
    """Read NAME.toml, or what holds without it.

    Raises:
        ValueError: when it is not TOML, has another key, or a value of another type.
    """
    file = case.file("toml")
    given: dict[str, Any] = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    unknown = sorted(given.keys() - set(KEYS))
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; one of {', '.join(KEYS)}")
    for key, kind in (("verdict", str), ("filtered", list), ("held", dict), ("findings", dict)):
        if not isinstance(given.get(key, kind()), kind):
            raise ValueError(f"{key} must be a {kind.__name__}")
    if "at" in given:
        given["at"] = _microseconds(given["at"])
    return Expectation(**given)


def _microseconds(at: Any) -> int:
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError("at must be a date and time with offset, such as 2026-01-05T12:00:00Z")
    return int(at.timestamp() * 1_000_000)


def write_missing(
    case: Case, outputs: Mapping[str, bytes], answer: bytes | None, otherwise: Expectation
) -> Iterator[Path]:
    """Write each expectation that has no file yet, as it came; what was written is for a person to read."""
    there = case.outputs()
    for name, payload in outputs.items():
        if name not in there:
            yield _write(case, f"{name}.expected", payload)
    if answer is not None and case.answer() is None:
        yield _write(case, "answer", answer)
    text = _expectation(otherwise)
    if text and not case.file("toml").exists():
        case.file("toml").write_text(text, "utf-8")
        yield case.file("toml")


def _write(case: Case, name: str, payload: bytes) -> Path:
    if payload.lstrip()[:1] in (b"{", b"["):
        path, payload = case.file(f"{name}.json"), _indented(payload)
    elif payload[:3] in (b"MSH", b"FHS", b"BHS"):
        path, payload = case.file(f"{name}.hl7"), payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    else:
        path = case.file(f"{name}.txt")
    path.write_bytes(payload)
    return path


def _indented(payload: bytes) -> bytes:
    """Indent JSON without touching a number: 1.10 stays 1.10, which no float would keep."""
    try:
        value = json.loads(payload, parse_float=lambda digits: f"\0{digits}\0")
    except ValueError:
        return payload
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.replace('"\\u0000', "").replace('\\u0000"', "").encode() + b"\n"


def _expectation(said: Expectation) -> str:
    """NAME.toml with what is not as it would be without the file."""
    lines = [] if said.verdict == "accepted" else [f"verdict = {json.dumps(said.verdict)}"]
    if said.filtered:
        lines.append(f"filtered = {json.dumps(list(said.filtered))}")
    lines += _table("held", said.held) + _table("findings", said.findings or {})
    return "".join(f"{line}\n" for line in lines)


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return [f"{name} = {{ {pairs} }}"] if pairs else []
