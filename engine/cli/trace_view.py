"""A trace for people: what happened in the order of time, then what came in beside what went out.

Invariant: everything shown is in the trace; what is too long to show says how much is missing and how to see it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from engine.cli.output import cell, moment, table, visible
from engine.ids import time_of
from engine.model import show_id
from engine.trace import Trace, TracedAttempt, TracedDelivery
from engine.trace_fields import named_fields

LONGEST_SHOWN = 20_000
"""Characters of one payload; more than that nobody reads in a terminal."""
LONGEST_FIELD_SHOWN = 500
_MARK = "\ufdd0"
"""Around a decimal on its way through the JSON reader, so that 1.10 stays 1.10; a noncharacter that no text has."""
_STYLES = {"delivered": "green", "taken": "green", "held": "red", "dead": "red", "in doubt": "yellow"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline."""

    at: int
    what: str
    where: str = ""
    detail: str = ""


def view(trace: Trace, *, fields: bool) -> Iterator[RenderableType]:
    """Everything to print, in order."""
    yield _heading(trace)
    shown = sorted(steps(trace), key=lambda step: step.at)
    rows = [(moment(s.at), cell(s.what, _STYLES.get(s.what, "bold")), s.where, s.detail) for s in shown]
    yield table(("time", "what", "destination", "how and why"), rows)
    if fields and trace.raw:
        yield _fields(trace.raw)
    for delivery in trace.deliveries:
        if delivery.attempts:
            yield from _side_by_side(trace, delivery, delivery.attempts[-1])
    if trace.raw and not fields and not any(delivery.attempts for delivery in trace.deliveries):
        yield Rule("received", align="left", style="dim")
        yield Text(_clipped(readable(trace.raw)))


def steps(trace: Trace) -> Iterator[Step]:
    """What happened, in the order of the path."""
    message, at = trace.message, time_of(trace.message.id)
    yield Step(at, "received", "", f"receipt {message.receipt} of {message.channel}, {message.size} bytes")
    if trace.original is not None:
        yield Step(at, "repeats", "", f"the message {show_id(trace.original.id)}")
    why = f": {message.reason}" if message.reason and message.reason != message.state else ""
    yield Step(at, "kept", "", f"as {message.state}{why}; channel revision {message.revision or 'unknown'}")
    for delivery in trace.deliveries:
        yield from _of_delivery(delivery, at)
    for event in trace.events:
        yield Step(event.at, event.kind.replace("_", " "), "", _words(event.details))
    for row in trace.successors:
        yield Step(time_of(row.id), "followed", "", f"by the message {show_id(row.id)} ({row.state})")


def _of_delivery(delivery: TracedDelivery, received_at: int) -> Iterator[Step]:
    row = delivery.row
    routed = "filtered" if row.state == "filtered" else "routed"
    place = "" if row.state == "filtered" else f", place {row.seq} of its lane; delivery {show_id(row.id)}"
    yield Step(received_at, routed, row.destination, f"by the rule: {row.rule or 'every message'}{place}")
    for attempt in delivery.attempts:
        yield from _of_attempt(attempt, row.destination)
    for event in delivery.events:
        yield Step(event.at, event.kind.replace("_", " "), row.destination, _words(event.details))
    if row.state != "filtered":
        reason = f"{row.reason}; " if row.reason and row.reason != row.state else ""
        due = f"next attempt {moment(row.next_at)}; " if row.state == "queued" and row.next_at else ""
        yield Step(row.changed_at, row.state, row.destination, f"{reason}{due}attempts: {len(delivery.attempts)}")


def _of_attempt(attempt: TracedAttempt, destination: str) -> Iterator[Step]:
    row = attempt.row
    tables = f", tables {row.tables}" if row.tables else ""
    same = f"; the bytes of {show_id(row.output)} again" if attempt.repeats else ""
    revision = f"channel revision {row.revision or 'unknown'}"
    yield Step(row.claimed_at, "claimed", destination, f"attempt {row.number}, {revision}{tables}{same}")
    if row.settled_at is not None:
        yield Step(
            row.settled_at, "answered", destination, f"attempt {row.number}: {row.code} ({row.outcome or 'taken'})"
        )


def _words(details: tuple[str | int, ...]) -> str:
    return ", ".join(str(detail) for detail in details if detail != "")


def _heading(trace: Trace) -> RenderableType:
    message = trace.message
    words = (message.channel, message.type or "unknown type", message.state)
    return Text(f"message {show_id(message.id)}  ", style="bold").append(visible("  ".join(words)), style="not bold")


def _side_by_side(trace: Trace, delivery: TracedDelivery, attempt: TracedAttempt) -> Iterator[RenderableType]:
    """What came in, what went out in the latest attempt, and what was answered."""
    if attempt.output is None:
        return
    sides = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    sides.add_column("received", ratio=1, overflow="fold")
    sides.add_column(f"sent to {delivery.row.destination}, attempt {attempt.row.number}", ratio=1, overflow="fold")
    came = _clipped(readable(trace.raw)) if trace.raw else "(not kept)"
    went = "(as it came)" if attempt.output == trace.raw else _clipped(readable(attempt.output))
    sides.add_row(Text(came), Text(went))
    yield sides
    if attempt.answer:
        yield Rule(f"answer of {delivery.row.destination}", align="left", style="dim")
        yield Text(_clipped(readable(attempt.answer)))


def readable(data: bytes) -> str:
    """A payload as a person reads it: JSON indented without touching a number, one segment a line."""
    if data[:1] in (b"{", b"["):
        try:
            value = json.loads(data, parse_float=lambda digits: f"{_MARK}{digits}{_MARK}")
            text = json.dumps(value, indent=2, ensure_ascii=False)
            return visible(text.replace(f'"{_MARK}', "").replace(f'{_MARK}"', ""))
        except ValueError:
            pass
    return visible(data.decode("utf-8", "replace"))


def _clipped(text: str, most: int = LONGEST_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most} more characters: --json shows all"


def _fields(raw: bytes) -> RenderableType:
    """Each field that is there: its path, its name in the message's version, its value."""
    rows = [
        (cell(field.path, "bold"), cell(field.name, "dim"), _clipped(field.value, LONGEST_FIELD_SHOWN))
        for field in named_fields(raw)
    ]
    return table(("field", "name", "value"), rows)
