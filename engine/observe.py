"""What the engine tells the outside while it works: counts and log lines, from allow-listed fields only.

Invariant: no field of a message ever gets here. Events are named in the past tense.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import defaultdict
from typing import Any

from engine.errors import InterlockError
from engine.model import Delivery, DeliveryState, MessageState, Settlement, show_id

log = logging.getLogger("interlock")

FIELDS = frozenset(
    {
        "channel", "destination", "message", "delivery", "reason", "code", "error", "where", "state", "seconds",
        "count", "address", "revision", "peer", "organization", "size", "signal", "advice", "table", "version",
    }
)  # fmt: skip
"""The fields a log line may carry. Anything else is a programming error and raises."""

messages: defaultdict[tuple[str, str], int] = defaultdict(int)
"""Received messages by (channel, state)."""
bytes_received: defaultdict[str, int] = defaultdict(int)
"""Bytes by channel."""
deliveries: defaultdict[tuple[str, str, str], int] = defaultdict(int)
"""Settled attempts by (channel, destination, state)."""
connector_events: defaultdict[tuple[str, str], int] = defaultdict(int)
"""What connectors counted by (channel, kind): broken frames, refused connections and the like."""


def received(channel: str, state: MessageState, size: int) -> None:
    """Count a message the store has kept."""
    messages[channel, state] += 1
    bytes_received[channel] += size


def settled(delivery: Delivery, settlement: Settlement) -> None:
    """Count an attempt's end; one that is not a delivery is also a log line."""
    state = settlement.state
    deliveries[delivery.channel, delivery.destination, state] += 1
    if state is not DeliveryState.DELIVERED:
        event(
            "attempt_failed",
            channel=delivery.channel,
            destination=delivery.destination,
            delivery=show_id(delivery.id),
            state=state.value,
            code=settlement.outcome.code,
        )


def converter_failed(delivery: Delivery, error: Exception) -> None:
    """Log that a conversion raised."""
    _raised("converter_failed", delivery, error)


def connector_failed(delivery: Delivery, error: Exception) -> None:
    """Log that a destination's connector raised, which it promises not to."""
    _raised("connector_failed", delivery, error)


def lane_failed(channel: str, destination: str, error: Exception) -> None:
    """Log that a lane's turn raised what nobody foresaw: it is given another one."""
    event("lane_failed", channel=channel, destination=destination, error=type(error).__name__)


def _raised(name: str, delivery: Delivery, error: Exception) -> None:
    """What may be told of somebody's exception: its type and place, never its values."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
    event(
        name,
        channel=delivery.channel,
        destination=delivery.destination,
        delivery=show_id(delivery.id),
        error=type(error).__name__,
        where=where,
    )


def failed(name: str, error: InterlockError, **fields: str | int | float) -> None:
    """Log one of the engine's own errors: its texts never hold a field's value."""
    log.warning("%s: %s", name, error.text, extra={"fields": _checked({**fields, "code": error.code})})


def event(name: str, **fields: str | int | float) -> None:
    """Log that something happened."""
    log.info(name, extra={"fields": _checked(fields)})


def configure(level: str, form: str) -> None:
    """Send log lines to standard error as text or JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if form == "json" else _TextLines())
    log.handlers[:] = [handler]
    log.setLevel(level.upper())
    log.propagate = False


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    unknown = fields.keys() - FIELDS
    if unknown:
        raise ValueError(f"log fields that are not allowed: {sorted(unknown)}")
    return fields


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        return json.dumps({**line, "event": record.getMessage(), **getattr(record, "fields", {})})


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        return f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()} {fields}"
