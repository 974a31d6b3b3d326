"""Corrections and replays: ids come from authority, number, test and sub-id, and from nothing that changes."""

from __future__ import annotations

import pytest
from result_messages import HEAD, PID, of

from engine.ports import Conversion
from tests.unit.rules.segments import bundle, findings, good, message, obr, obx, only, urls

KINDS = ("Patient", "Observation", "ServiceRequest", "DiagnosticReport")
LATER = HEAD.replace("|1|P|", "|77|P|").replace("20260105083000", "20260209101112")


@pytest.mark.parametrize(("said", "status"), [("C", "corrected"), ("D", "entered-in-error"), ("W", "entered-in-error")])
@pytest.mark.parametrize("value", ["3.9", ""])
def test_c_d_and_w_update_the_stored_result(said: str, status: str, value: str) -> None:
    stored = only("Observation", message(obr(), obx()))
    found = only("Observation", good(LATER, PID, obr(n25="C"), obx(n5=value, n11=said)))
    assert (found["id"], found["status"]) == (stored["id"], status)


def test_ids_have_nothing_of_the_message_in_them() -> None:
    """Not its control id, time, position, value, type of value, status or unit."""
    first = message(obr(), obx(n1="1"))
    other = obx(n1="9", n2="ST", n5="hemolyzed", n6="mmol/L", n8="A", n11="C", n14="20260106")
    again = good(LATER, PID, "NTE|1||new", "PV1|1|I", obr(n1="5", n7="20260106", n25="C"), other)
    for kind in KINDS:
        assert urls(kind, first) == urls(kind, again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n3": "F1^LAB"}, {"n3": "F1^OTHER"}),
        ({"n3": "F1^LAB^2.999.1^ISO"}, {"n3": "F1^LAB^2.999.2^ISO"}),
        ({"n3": "F1^LAB"}, {"n3": "F2^LAB"}),
    ],
)
def test_another_number_or_authority_is_another_order(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = message(obr(**one), obx()), message(obr(**other), obx())
    for kind in ("Observation", "DiagnosticReport"):
        assert urls(kind, first) != urls(kind, second)


def test_numbers_without_an_authority_are_the_sender_s_own() -> None:
    lab, other = (
        message(obr(n2="", n3="F1"), obx(), context=Conversion("unit", timezone="America/Chicago", sender=sender))
        for sender in ("lab", "other")
    )
    for kind in ("Observation", "ServiceRequest", "DiagnosticReport"):
        assert urls(kind, lab) != urls(kind, other)


@pytest.mark.parametrize("change", [{"n3": "NA^Sodium^L"}, {"n3": "K^Potassium^99M"}, {"n4": "2"}])
def test_another_test_system_or_sub_id_is_another_result(change: dict[str, str]) -> None:
    assert urls("Observation", message(obr(), obx())) != urls("Observation", message(obr(), obx(**change)))


def test_the_display_of_a_test_is_not_in_its_id() -> None:
    renamed = message(obr(), obx(n3="K^Kalium^L"))
    assert urls("Observation", message(obr(), obx())) == urls("Observation", renamed)


def test_repeated_results_are_told_apart_by_how_often_they_were_there() -> None:
    first = message(obr(), obx(n5="4.1"), obx(n5="4.2"), obx(n5="4.3"))
    again = good(LATER, PID, obr(), obx(n5="5.1"), obx(n3="NA^Sodium^L"), obx(n5="5.2"), obx(n5="5.3"))
    assert len(set(urls("Observation", first))) == 3
    values = {found["id"]: found["valueQuantity"]["value"] for found in of("Observation", again)}
    assert [values[found["id"]] for found in of("Observation", first)] == ["5.1", "5.2", "5.3"]


@pytest.mark.parametrize("orc", ["ORC|RE|P1^LEE|F1^LAB"])
def test_a_number_in_orc_alone_names_the_same_order(orc: str) -> None:
    first, again = message(obr(), obx()), message(orc, obr(n2="", n3=""), obx())
    for kind in KINDS:
        assert urls(kind, first) == urls(kind, again)


def test_the_placer_s_number_names_an_order_without_a_filler_s() -> None:
    one, two = (message(obr(n2=placer, n3=""), obx()) for placer in ("P1^LEE", "P2^LEE"))
    assert urls("Observation", one) != urls("Observation", two)
    assert findings(one) == []


def test_an_order_without_a_number_is_reported_and_stays_within_its_message() -> None:
    made = message(obr(n2="", n3=""), obx())
    later = good(LATER, PID, obr(n2="", n3=""), obx())
    assert findings(made) == ["order_without_number OBR[1]-3"]
    assert urls("Observation", made) != urls("Observation", later)


def test_no_id_and_no_url_shows_a_number_of_the_patient_or_the_order() -> None:
    made = good(HEAD, PID.replace("100^", "987654321^"), obr(n2="987654321^LEE", n3="987654321^LAB"), obx())
    for entry in bundle(made)["entry"]:
        assert "987654321" not in entry["fullUrl"] + entry["request"]["url"]
