"""From the records of a run to its figures, and the figures as a table.

Pure: a figure is computed from the raw times of every message, never from a summary of a summary.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from engine.bench.load import Record
from engine.bench.sinks import Arrivals

Figures = dict[str, Any]

#: of several rounds these are reported at their worst, the others as the median
WORST = frozenset({"order_violations", "lost", "duplicated", "refused", "broken", "balance_open"})

_ROWS = (
    ("delivered_per_s", "delivered a second, drain included", "{:,.0f}"),
    ("acked_per_s", "acknowledged a second", "{:,.0f}"),
    ("ack_p50_ms", "acknowledgement, open loop, p50", "{:.2f} ms"),
    ("ack_p99_ms", "acknowledgement, open loop, p99", "{:.2f} ms"),
    ("ack_loaded_p50_ms", "acknowledgement, main phase, p50", "{:.2f} ms"),
    ("ack_loaded_p99_ms", "acknowledgement, main phase, p99", "{:.2f} ms"),
    ("delivery_p50_ms", "received to delivered, idle, p50", "{:.2f} ms"),
    ("delivery_p99_ms", "received to delivered, idle, p99", "{:.2f} ms"),
    ("delivery_loaded_p50_ms", "received to delivered, main phase, p50", "{:.2f} ms"),
    ("delivery_loaded_p99_ms", "received to delivered, main phase, p99", "{:.2f} ms"),
    ("drain_s", "drain after the last acknowledgement", "{:.2f} s"),
    ("cpu_ms_per_message", "CPU a message", "{:.3f} ms"),
    ("rss_mb", "resident memory, peak", "{:.0f} MB"),
    ("stored_bytes_per_message", "stored a message", "{:,.0f} bytes"),
    ("messages", "messages", "{:,.0f}"),
    ("order_violations", "order violations", "{:,.0f}"),
    ("lost", "lost", "{:,.0f}"),
    ("duplicated", "duplicated", "{:,.0f}"),
    ("refused", "refused", "{:,.0f}"),
    ("balance_open", "balance open", "{}"),
)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def pair(name: str, values: Sequence[float]) -> Figures:
    """`NAME_p50_ms` and `NAME_p99_ms` of times in milliseconds; None of no times."""
    figures: Figures = {}
    for key, percent in (("p50", 50), ("p99", 99)):
        value = percentile(values, percent)
        figures[f"{name}_{key}_ms"] = None if value is None else round(value, 3)
    return figures


def ack_times(record: Record) -> list[float]:
    """Milliseconds from when each message was due to its positive answer."""
    return [(acked - due) * 1e3 for due, acked in zip(record.due, record.acked, strict=True) if acked]


def delivery_times(record: Record, arrivals: Arrivals) -> list[float]:
    """Milliseconds from the sending of each message to its first arrival."""
    return [(at - record.sent[index]) * 1e3 for index, at in _arrived(record, arrivals)]


def order_violations(record: Record, arrivals: Arrivals) -> int:
    """How often a message arrived after one of the same patient that was sent when it was already acknowledged.

    Of two messages that were under way at the same time nobody can say which is first; all others have an order.
    """
    newest: dict[int, float] = {}
    violations = 0
    for index, _ in _arrived(record, arrivals):
        patient, sent, acked = record.patient[index], record.sent[index], record.acked[index]
        latest = newest.get(patient, 0.0)
        if acked and acked < latest:
            violations += 1
        if sent > latest:
            newest[patient] = sent
    return violations


def lost(record: Record, arrivals: Arrivals) -> int:
    """How many were acknowledged and never arrived."""
    there = {index for index, _ in _arrived(record, arrivals)}
    return sum(1 for index, acked in enumerate(record.acked) if acked and index not in there)


def main_figures(record: Record, arrivals: Arrivals) -> Figures:
    """The figures of the main phase: rates, order, losses, and times under load."""
    sent, acked = record.sent, [at for at in record.acked if at]
    if not acked or not arrivals.at:
        raise RuntimeError("nothing was acknowledged and delivered: see what the engine wrote")
    start, last_ack, last_arrival = sent[0], max(acked), max(arrivals.at)
    acks, deliveries = ack_times(record), delivery_times(record, arrivals)
    return {
        "messages": len(sent),
        "seconds": round(last_ack - start, 2),
        "acked_per_s": round(len(acked) / (last_ack - start), 1),
        "delivered_per_s": round(len(deliveries) / (max(last_ack, last_arrival) - start), 1),
        "drain_s": round(max(0.0, last_arrival - last_ack), 3),
        **pair("ack_loaded", acks),
        **pair("delivery_loaded", deliveries),
        **_faults(record, arrivals),
        "load_cpu_us": round(record.cpu_seconds / len(sent) * 1e6, 1),
        "sink_cpu_us": round(arrivals.cpu_seconds / len(sent) * 1e6, 1),
    }


def add_faults(figures: Figures, *phases: tuple[Record, Arrivals]) -> Figures:
    """The figures, with what must not happen counted over these phases, too."""
    total = dict(figures)
    for record, arrivals in phases:
        for name, count in _faults(record, arrivals).items():
            total[name] += count
    return total


def _faults(record: Record, arrivals: Arrivals) -> dict[str, int]:
    return {
        "order_violations": order_violations(record, arrivals),
        "lost": lost(record, arrivals),
        "duplicated": arrivals.repeats,
        "refused": record.refused,
        "broken": record.broken,
    }


def medians(rounds: Sequence[Figures]) -> Figures:
    """One set of figures from several rounds: the median of each, the worst of what must not happen."""
    merged: Figures = {}
    for name, value in rounds[-1].items():
        values = [figures[name] for figures in rounds if figures.get(name) is not None]
        if isinstance(value, bool) or not values or not all(isinstance(v, int | float) for v in values):
            merged[name] = any(values) if isinstance(value, bool) else value
        else:
            merged[name] = max(values) if name in WORST else round(statistics.median(values), 3)
    return merged


def ratios(columns: Mapping[str, Figures]) -> dict[str, float]:
    """Delivered a second of the first column as a part of each other column's."""
    first, *others = columns
    mine = columns[first]["delivered_per_s"]
    return {name: round(mine / columns[name]["delivered_per_s"], 3) for name in others}


def table(columns: Mapping[str, Figures]) -> Table:
    """The figures as a table, one column a run; a figure that could not be measured is a dash."""
    grid = Table(title="interlock bench", title_justify="left")
    grid.add_column("")
    for name in columns:
        grid.add_column(name, justify="right")
    for key, words, form in _ROWS:
        values = [figures.get(key) for figures in columns.values()]
        if any(value is not None for value in values):
            grid.add_row(words, *("-" if value is None else form.format(value) for value in values))
    return grid


def _arrived(record: Record, arrivals: Arrivals) -> list[tuple[int, float]]:
    """Index and time of each arrival that belongs to the record, in the order of arrival."""
    first, count = record.first, len(record.sent)
    pairs = zip(arrivals.sequence, arrivals.at, strict=True)
    return [(sequence - first, at) for sequence, at in pairs if 0 <= sequence - first < count]
