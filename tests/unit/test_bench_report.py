"""Figures from records whose truth is known."""

from __future__ import annotations

import io
from array import array

import pytest
from rich.console import Console

from engine.bench import report
from engine.bench.load import Record
from engine.bench.sinks import Arrivals


def record(sent: list[float], acked: list[float], patients: list[int], due: list[float] | None = None) -> Record:
    times = array("d", sent)
    return Record(1, array("d", due) if due else times, times, array("d", acked), array("I", patients), 0, 0, 0.5)


def arrivals(*pairs: tuple[int, float], repeats: int = 0) -> Arrivals:
    sequence, at = array("Q", [number for number, _ in pairs]), array("d", [time for _, time in pairs])
    return Arrivals(sequence, at, repeats, 1, 0.25)


def test_order_counts_within_a_patient_only() -> None:
    made = record([1, 2, 3], [1.1, 2.1, 3.1], [7, 8, 7])
    assert report.order_violations(made, arrivals((2, 5), (1, 6), (3, 7))) == 0
    assert report.order_violations(made, arrivals((3, 5), (2, 6), (1, 7))) == 1


def test_two_messages_under_way_at_once_have_no_order() -> None:
    made = record([1, 2], [2.5, 2.6], [7, 7])
    assert report.order_violations(made, arrivals((2, 5), (1, 6))) == 0


def test_lost_is_what_was_acknowledged_and_never_came() -> None:
    made = record([1, 2, 3], [1.1, 0, 3.1], [7, 7, 7])
    assert report.lost(made, arrivals((1, 5))) == 1
    assert report.lost(made, arrivals((1, 5), (3, 6))) == 0


def test_acknowledgement_times_run_from_the_due_time() -> None:
    made = record([1.5, 2.0], [1.6, 0], [1, 1], due=[1.0, 2.0])
    assert report.ack_times(made) == pytest.approx([600.0])


def test_arrivals_of_another_phase_are_not_this_ones() -> None:
    made = record([1.0], [1.1], [1])
    assert report.delivery_times(made, arrivals((1, 1.25), (2, 9.0))) == pytest.approx([250.0])


def test_delivered_a_second_includes_the_drain() -> None:
    made = record([10.0, 11.0], [10.1, 12.0], [1, 2])
    figures = report.main_figures(made, arrivals((1, 10.5), (2, 14.0)))
    assert figures["acked_per_s"] == 1.0
    assert figures["delivered_per_s"] == 0.5
    assert figures["drain_s"] == 2.0
    assert figures["lost"] == figures["duplicated"] == figures["order_violations"] == 0


def test_a_run_in_which_nothing_arrived_is_an_error_and_no_figure() -> None:
    with pytest.raises(RuntimeError, match="nothing was acknowledged and delivered"):
        report.main_figures(record([1.0], [0.0], [1]), arrivals())


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles_are_nearest_rank(percent: float, value: float) -> None:
    assert report.percentile(list(range(100, 0, -1)), percent) == value


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert report.percentile([], 50) is None
    assert report.pair("ack", []) == {"ack_p50_ms": None, "ack_p99_ms": None}


def test_of_several_rounds_the_median_and_the_worst() -> None:
    rounds = [
        {"delivered_per_s": 3.0, "lost": 0, "balance_open": False, "to": "fhir", "rss_mb": None},
        {"delivered_per_s": 9.0, "lost": 2, "balance_open": True, "to": "fhir", "rss_mb": None},
        {"delivered_per_s": 4.0, "lost": 0, "balance_open": False, "to": "fhir", "rss_mb": 5.0},
    ]
    merged = report.medians(rounds)
    assert merged == {"delivered_per_s": 4.0, "lost": 2, "balance_open": True, "to": "fhir", "rss_mb": 5.0}


def test_faults_of_every_phase_count() -> None:
    made, came = record([1.0], [1.1], [1]), arrivals(repeats=3)
    total = report.add_faults(
        {"order_violations": 1, "lost": 1, "duplicated": 0, "refused": 0, "broken": 0}, (made, came)
    )
    assert (total["order_violations"], total["lost"], total["duplicated"]) == (1, 2, 3)


def test_the_table_shows_every_figure_and_a_dash_for_what_could_not_be_measured() -> None:
    figures = report.main_figures(record([1.0, 2.0], [1.5, 2.5], [1, 2]), arrivals((1, 2.0), (2, 3.0)))
    out = io.StringIO()
    Console(file=out, width=120).print(report.table({"a": figures, "b": figures | {"lost": None}}))
    lost = next(line for line in out.getvalue().splitlines() if "lost" in line)
    assert " 0 " in lost and " - " in lost


def test_ratios_are_of_the_first_column() -> None:
    columns = {"mine": {"delivered_per_s": 50.0}, "theirs": {"delivered_per_s": 100.0}}
    assert report.ratios(columns) == {"theirs": 0.5}
