"""A simulated laboratory: a few hundred results, the same in every run, sent over MLLP as a real one sends them.

It keeps what a laboratory must keep: one message outstanding a connection, one patient's messages on one connection,
and the answer to each. All people are invented, of the assigning authority INTERLOCK-TEST, and MSH-11 is T.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from engine.bench.messages import ANALYTES, END, START

SEED = 20250611
PATIENTS = 40
ANSWER_SECONDS = 30.0
UNMAPPED_CODE = "XQ9"

_GIVEN = ("Ada", "Bram", "Cleo", "Dario", "Edda", "Finn", "Greta", "Hugo", "Inga", "Jonas")
_FAMILY = ("Quillfeather", "Marrowby", "Thistlewood", "Oakenshade", "Pepperell", "Larkspur", "Windlass", "Brindle")
_MORNING = datetime(2025, 6, 11, 7, 30, tzinfo=UTC)
_FIRST_STAGES = {"final": 150, "preliminary": 30, "corrected later": 12, "resent": 12}


class Kind(StrEnum):
    """What a message is to the story."""

    FINAL = "final"
    PRELIMINARY = "preliminary"
    CORRECTION = "correction"
    RESEND = "resend"  # the same bytes again, as a laboratory does that lost the answer
    UNMAPPED = "unmapped code"
    CRITICAL = "critical"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Result:
    """One message of the laboratory: the bytes, and what the story expects of them."""

    kind: Kind
    control_id: str
    patient: int
    order: str
    status: str  # OBR-25: P, F or C
    payload: bytes

    @property
    def arrives(self) -> bool:
        """Whether it is to be acknowledged and delivered, once however often it is sent."""
        return self.kind is not Kind.UNREADABLE


@dataclass(frozen=True, slots=True)
class Answered:
    """A message and the code it was answered with: MSA-1, or "" where no answer came."""

    result: Result
    code: str

    @property
    def positive(self) -> bool:
        """Whether the laboratory may forget it."""
        return self.code in ("AA", "CA")


def results(seed: int = SEED) -> list[Result]:
    """The morning's messages in the order of sending; the same for the same seed."""
    chance = random.Random(seed)
    drafts: list[tuple[float, Kind, int, str, str]] = []
    number = 0
    for story, count in _FIRST_STAGES.items():
        for _ in range(count):
            number += 1
            drafts += _stages(story, number, chance)
    for kind in (Kind.UNMAPPED, Kind.CRITICAL, Kind.UNREADABLE):
        number += 1
        drafts.append((chance.uniform(0.3, 0.7), kind, chance.randrange(PATIENTS), f"L25-{number:05d}", "F"))
    return _render(sorted(drafts), chance)


def _stages(story: str, number: int, chance: random.Random) -> list[tuple[float, Kind, int, str, str]]:
    """The messages of one order: when (as a part of the morning), kind, patient, filler number, status."""
    patient, order, start = chance.randrange(PATIENTS), f"L25-{number:05d}", chance.random()
    later = start + (1 - start) * chance.uniform(0.1, 0.9)
    first, second = {
        "final": ((Kind.FINAL, "F"), None),
        "preliminary": ((Kind.PRELIMINARY, "P"), (Kind.FINAL, "F")),
        "corrected later": ((Kind.FINAL, "F"), (Kind.CORRECTION, "C")),
        "resent": ((Kind.FINAL, "F"), (Kind.RESEND, "F")),
    }[story]
    stages = [(start, first[0], patient, order, first[1])]
    return [*stages, (later, second[0], patient, order, second[1])] if second else stages


def _render(drafts: Sequence[tuple[float, Kind, int, str, str]], chance: random.Random) -> list[Result]:
    messages: list[Result] = []
    first: dict[str, Result] = {}
    for number, (_, kind, patient, order, status) in enumerate(drafts, 1):
        if kind is Kind.RESEND:
            messages.append(replace(first[order], kind=kind))
            continue
        control_id, at = f"LAB{number:06d}", _MORNING + timedelta(seconds=40 * number)
        payload = _message(kind, control_id, patient, order, status, at, chance)
        message = Result(kind, control_id, patient, order, status, payload)
        messages.append(first.setdefault(order, message) if order not in first else message)
    return messages


def _message(
    kind: Kind, control_id: str, patient: int, order: str, status: str, at: datetime, chance: random.Random
) -> bytes:
    """One ORU^R01 with two to five observations."""
    when = f"{at:%Y%m%d%H%M%S}+0000"
    segments = [
        rf"MSH|^~\&|WILLOWLAB|INTERLOCK-TEST|EHR|INTERLOCK-TEST|{when}||ORU^R01^ORU_R01|{control_id}|T|2.5.1",
        _pid(patient),
        f"ORC|RE|P-{order}|{order}",
        f"OBR|1|P-{order}|{order}|PANEL^Blood panel^WLAB|||{when}|||||||||9001^FENWICK^ALEX^^^DR||||||{when}||LAB|"
        + status,
    ]
    chosen = chance.sample(ANALYTES[:-1], chance.randint(2, 5))  # potassium is kept for the critical one
    for number, (code, name, unit, normal, _, _) in enumerate(chosen, 1):
        value, flag = _value(normal, chance)
        segments.append(_observation(number, f"{code}^{name}^WLAB", value, unit, normal, flag, status, when))
    if kind is Kind.UNMAPPED:
        marker = f"{UNMAPPED_CODE}^In-house marker^WLAB"
        segments.append(_observation(len(chosen) + 1, marker, "1.8", "U/mL", "0-2.0", "N", status, when))
    if kind is Kind.CRITICAL:
        potassium = "K^Potassium^WLAB"
        segments.append(_observation(len(chosen) + 1, potassium, "7.1", "mmol/L", "3.5-5.1", "HH", status, when))
    if kind is Kind.UNREADABLE:
        segments[0] = segments[0][3:]  # a line fault took the first three bytes: no reader may guess what this was
    return "\r".join(segments).encode() + b"\r"


def _pid(patient: int) -> str:
    family, given = _FAMILY[patient % len(_FAMILY)], _GIVEN[patient // 4 % len(_GIVEN)]
    born, sex = f"19{40 + patient}0{1 + patient % 9}15", "FM"[patient % 2]
    return f"PID|1||W{patient:05d}^^^INTERLOCK-TEST^MR||{family}^{given}^^^^^L||{born}|{sex}"


def _observation(number: int, code: str, value: str, unit: str, normal: str, flag: str, status: str, when: str) -> str:
    return f"OBX|{number}|NM|{code}||{value}|{unit}|{normal}|{flag}|||{status}|||{when}"


def _value(normal: str, chance: random.Random) -> tuple[str, str]:
    """A plausible value and its flag: mostly within the reference range, sometimes a little outside."""
    low, high = (float(bound) for bound in normal.split("-"))
    value = round(chance.uniform(low - (high - low) / 8, high + (high - low) / 8), 2)
    return f"{value:.2f}", "L" if value < low else "H" if value > high else "N"


def sample(control_id: str) -> bytes:
    """One more message, for the reader to send: a final result of the first patient."""
    chance, at = random.Random(control_id), _MORNING + timedelta(hours=5)
    return _message(Kind.FINAL, control_id, 0, f"L25-{control_id}", "F", at, chance)


class Laboratory:
    """Sends results over its connections and keeps every answer.

    With `again_after`, in seconds, it sends a message that was not answered again until it is, as a real one does.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        connections: int = 4,
        pause: float = 0.0,
        again_after: float | None = None,
    ) -> None:
        self.host, self.port, self.connections, self.pause = host, port, connections, pause
        self.again_after = again_after
        self.answers: list[Answered] = []

    async def send(self, messages: Sequence[Result]) -> list[Answered]:
        """Send all of them, each patient's in order, and return the answers so far."""
        shares: list[list[Result]] = [[] for _ in range(self.connections)]
        for message in messages:
            shares[message.patient % self.connections].append(message)
        await asyncio.gather(*(self._send_in_order(share) for share in shares if share))
        return self.answers

    def codes(self) -> Counter[str]:
        """How often each code was answered."""
        return Counter(answer.code or "none" for answer in self.answers)

    async def _send_in_order(self, messages: Sequence[Result]) -> None:
        line = _Line(self.host, self.port)
        try:
            for message in messages:
                answer = await self._exchange(line, message.payload)
                self.answers.append(Answered(message, _code(answer, message.control_id)))
                await asyncio.sleep(self.pause)
        finally:
            line.close()

    async def _exchange(self, line: _Line, payload: bytes) -> bytes:
        while True:
            try:
                answer = await asyncio.wait_for(line.exchange(payload), ANSWER_SECONDS)
            except OSError:  # also that nothing came in time, or that the name is not known yet
                if self.again_after is None:
                    raise
                line.close()  # an answer that comes late must not be taken for the next one's
                answer = b""
            if answer or self.again_after is None:
                return answer
            await asyncio.sleep(self.again_after)


class _Line:
    """One connection, opened when it is needed and again after it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.writer: asyncio.StreamWriter | None = None

    async def exchange(self, payload: bytes) -> bytes:
        """Send one message and wait for its answer; nothing when the connection ends before it."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        try:
            self.writer.write(START + payload + END)
            await self.writer.drain()
            return (await self.reader.readuntil(END))[: -len(END)].lstrip(START)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.close()
            return b""

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self.writer:
            self.writer.close()
            self.writer = None


def _code(answer: bytes, control_id: str) -> str:
    """MSA-1 of an answer. A positive one must name the message it is for; a refusal may not know it."""
    for segment in answer.split(b"\r"):
        if segment.startswith(b"MSA|"):
            fields = segment.decode(errors="replace").split("|")
            return fields[1] if fields[1][1:] != "A" or fields[2] == control_id else "mismatch"
    return ""
