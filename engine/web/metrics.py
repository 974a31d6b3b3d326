"""The engine's counts and gauges in Prometheus' text format.

Invariant: labels are names of channels, destinations and states, never a field of a message; counters are those of
`observe`, gauges are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from engine import observe

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PLACE = ("channel", "destination")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one destination waits for: deliveries by state, and the age of the oldest, in seconds."""

    channel: str
    destination: str
    states: Mapping[str, int]
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read when it is asked for. `gap` is what the conservation law misses, by channel: 0 where it holds."""

    waiting: Iterable[Waiting]
    held: Mapping[str, int]
    gap: Mapping[str, int]
    disk_free: int
    ready: bool


def render(gauges: Gauges) -> bytes:
    """The whole page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(gauges))
    return generate_latest(registry)


class _Now(Collector):
    """One answer's worth of metrics."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the registry is made for one answer."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Counters first, then gauges."""
        yield from _counters()
        yield from _gauges(self._gauges)


def _counters() -> Iterator[Metric]:
    yield _counter(
        "interlock_messages", "Messages received, by what became of them.", ("channel", "state"), observe.messages
    )
    yield _counter(
        "interlock_received_bytes",
        "Bytes of received messages.",
        ("channel",),
        {(c,): n for c, n in observe.bytes_received.items()},
    )
    yield _counter(
        "interlock_attempts", "Attempts to deliver, by what became of them.", (*_PLACE, "state"), observe.deliveries
    )
    yield _counter(
        "interlock_connector_events", "What connectors counted.", ("channel", "kind"), observe.connector_events
    )


def _gauges(gauges: Gauges) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        "interlock_deliveries", "Deliveries that have not ended, by state.", labels=(*_PLACE, "state")
    )
    oldest = GaugeMetricFamily(
        "interlock_oldest_delivery_seconds", "Age of the oldest one that has not ended.", labels=_PLACE
    )
    for waiting in gauges.waiting:
        for state, count in waiting.states.items():
            depth.add_metric((waiting.channel, waiting.destination, state), count)
        oldest.add_metric((waiting.channel, waiting.destination), waiting.oldest_seconds)
    yield depth
    yield oldest
    yield _by_channel("interlock_held_messages", "Messages that wait for a person before routing.", gauges.held)
    yield _by_channel("interlock_conservation_gap", "Messages and deliveries the balance misses: 0.", gauges.gap)
    yield _single("interlock_disk_free_bytes", "Free bytes on the disk of the data folder.", gauges.disk_free)
    yield _single("interlock_ready", "1 while the engine takes messages.", int(gauges.ready))


def _counter(name: str, meaning: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for key, count in sorted(counts.items()):
        family.add_metric([str(getattr(part, "value", part)) for part in key], count)
    return family


def _by_channel(name: str, meaning: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=("channel",))
    for channel, count in sorted(counts.items()):
        family.add_metric((channel,), count)
    return family


def _single(name: str, meaning: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, meaning)
    family.add_metric((), value)
    return family
