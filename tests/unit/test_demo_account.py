"""The demo's verdict: it fails when one result is missing, doubled, or not at its latest status."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from engine.demo import account
from engine.demo.ehr import FhirEhr, MllpEhr
from engine.demo.laboratory import UNMAPPED_CODE, Answered, Kind, results
from engine.demo.screen import STATES, Screen, channels_table, checks_table

MESSAGES = results()
STATUS = {"P": "preliminary", "F": "final", "C": "corrected"}


def good() -> tuple[list[Answered], FhirEhr, MllpEhr, list[dict[str, Any]]]:
    """A run in which everything went as it should."""
    answers = [Answered(message, "AA" if message.arrives else "AE") for message in MESSAGES]
    fhir, mllp = FhirEhr(), MllpEhr()
    for message in MESSAGES:
        if not message.arrives:
            continue
        if message.kind is not Kind.RESEND:
            mllp.arrived.append(message.control_id)
        report = {"status": STATUS[message.status], "identifier": [{"value": message.order}]}
        fhir.resources[f"DiagnosticReport/{message.order}"] = report
    fhir.resources["Observation/x"] = {"code": {"coding": [{"code": UNMAPPED_CODE}]}}
    resends = sum(message.kind is Kind.RESEND for message in MESSAGES)
    channels: list[dict[str, Any]] = [{"name": "lab", "counts": {"held": 1, "duplicate": resends}, "destinations": []}]
    return answers, fhir, mllp, channels


def failed(answers: list[Answered], fhir: FhirEhr, mllp: MllpEhr, channels: list[dict[str, Any]]) -> list[str]:
    return [check.what for check in account.checks(answers, fhir, mllp, channels) if not check.kept]


def test_a_good_run_keeps_every_expectation() -> None:
    assert failed(*good()) == []


def test_a_result_missing_in_the_mllp_ehr_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    mllp.arrived.pop()
    assert failed(answers, fhir, mllp, channels) == ["different results in the MLLP EHR"]


def test_a_result_there_twice_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    mllp.arrived.append(mllp.arrived[0])
    assert failed(answers, fhir, mllp, channels) == ["results there more than once"]


def test_an_order_at_an_old_status_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    corrected = next(message for message in MESSAGES if message.kind is Kind.CORRECTION)
    fhir.resources[f"DiagnosticReport/{corrected.order}"]["status"] = "final"
    assert failed(answers, fhir, mllp, channels) == ["orders at their latest status in the FHIR EHR"]


def test_a_positive_answer_to_the_unreadable_one_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    answers = [Answered(answer.result, "AA") for answer in answers]
    assert "unreadable message answered negatively" in failed(answers, fhir, mllp, channels)


def test_a_refused_result_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    answers[0] = Answered(answers[0].result, "AR")
    assert "results answered positively" in failed(answers, fhir, mllp, channels)


def test_an_unmapped_code_that_did_not_go_on_is_seen() -> None:
    answers, fhir, mllp, channels = good()
    del fhir.resources["Observation/x"]
    assert failed(answers, fhir, mllp, channels) == ["unmapped code went on as the laboratory sent it"]


@pytest.mark.parametrize(("status", "kept"), [(0, True), (1, False), (2, False)])
def test_only_a_closed_balance_is_good(status: int, kept: bool) -> None:
    assert account.balance_check(status).kept is kept


def test_it_is_settled_when_all_is_counted_and_nothing_is_on_its_way() -> None:
    def channels(received: int, **states: int) -> list[dict[str, Any]]:
        places = [{"name": "a", "counts": {}}, {"name": "b", "counts": {"accepted": received, **states}}]
        return [{"name": "lab", "counts": {"received": received}, "destinations": places}]

    assert account.settled(channels(9, delivered=8, held=1), sent=9)
    assert not account.settled(channels(8, delivered=8), sent=9)
    assert not account.settled([], sent=9)
    for state in ("queued", "claimed", "in doubt"):
        assert not account.settled(channels(9, **{state: 1}), sent=9)


def test_tables_show_the_counts_and_a_failure_stands_out() -> None:
    answers, fhir, mllp, channels = good()
    channels[0]["destinations"] = [{"name": "fhir-ehr", "counts": {"queued": 77, "delivered": 12}}]
    mllp.arrived.pop()
    out = io.StringIO()
    console = Console(file=out, width=140)
    console.print(channels_table(channels), checks_table(account.checks(answers, fhir, mllp, channels)))
    assert "77" in next(line for line in out.getvalue().splitlines() if "fhir-ehr" in line)
    assert "NO" in next(line for line in out.getvalue().splitlines() if "in the MLLP EHR" in line)


def test_the_counts_fit_a_terminal_of_eighty_columns() -> None:
    out = io.StringIO()
    places = [{"name": "fhir-ehr", "counts": dict.fromkeys(STATES, 248)}]
    channels = [{"name": "willow-lab", "counts": {"received": 261}, "destinations": places}]
    Console(file=out, width=80).print(channels_table(channels))
    assert "…" not in out.getvalue()
    assert all(word in out.getvalue() for state in STATES for word in state.split())


def test_where_there_is_no_terminal_the_story_is_plain_lines() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=100)) as screen:
        screen.show([{"name": "lab", "counts": {}}], "sent 1 of 2")
        screen.say("The EHR goes down.")
        assert out.getvalue() == "The EHR goes down.\n"
    assert "sent 1 of 2" in out.getvalue()
