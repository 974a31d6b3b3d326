"""A channel's cases: what comes out is compared, what is missing written on request, nothing passes by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from channel_fakes import to_loinc

from engine import registry
from engine.model import Mapped, Unmapped
from engine.rehearsal.cases import cases
from engine.rehearsal.rehearse import Parts, Result, rehearse
from tests.building import read_channel

CHANNEL = """\
name        = "lab"
title       = "Laboratory"
class       = "result"
environment = "test"

[source]
listen = "memory://lab"
accept = ["ORU^R01"]

[[map]]
field = "OBX-3"
table = "loinc"

[[destination]]
name    = "ehr"
to      = "memory://ehr"
convert = "channel_fakes:as_json"

[[destination]]
name = "ward"
to   = "memory://ward"
when = "channel_fakes:inpatient"
"""

MESSAGE = """\
MSH|^~\\&|LAB|L|EHR|E|20260105083000||ORU^R01^ORU_R01|1|T|2.5.1
PID|1||7^^^INTERLOCK-TEST^MR||Marlowe^Iris
PV1|1|I
OBX|1|NM|K^Kalium^L||4.10|mmol/L
"""


class NoTables:
    """Tables that nobody asks, because the maps are stood in for."""

    def lookup(self, table: str, code: str, at: int) -> Mapped | Unmapped:
        raise AssertionError("not asked")

    def revision(self, table: str) -> str:
        raise AssertionError("not asked")

    def names(self) -> Sequence[str]:
        return ("loinc",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    (folder / "cases").mkdir(parents=True)
    (folder / "channel.toml").write_text(CHANNEL, "utf-8")
    return folder


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    registry.resolve.cache_clear()
    yield


def run(folder: Path, *, update: bool = False) -> list[Result]:
    return rehearse(read_channel(folder), Parts(NoTables(), to_loinc), update=update)


def said(results: list[Result]) -> list[str]:
    return [str(difference) for result in results for difference in result.differences]


def case(folder: Path, message: str = MESSAGE, name: str = "potassium") -> Path:
    (folder / "cases" / f"{name}.in.hl7").write_text(message, "utf-8")
    return folder / "cases"


def test_a_case_that_expects_nothing_fails(folder: Path) -> None:
    case(folder)
    found = said(run(folder))
    assert [line.partition(" expected ")[0] for line in found] == ["ehr", "ward"]
    assert "--update" in found[0]


def test_update_writes_what_is_missing_and_then_the_case_passes(folder: Path) -> None:
    files = case(folder)
    (result,) = run(folder, update=True)
    assert result.passed
    assert sorted(path.name for path in result.written) == [
        "potassium.answer.hl7",
        "potassium.ehr.expected.json",
        "potassium.ward.expected.hl7",
    ]
    written = (files / "potassium.ehr.expected.json").read_text("utf-8")
    assert '"value": 4.10' in written, "a number keeps its digits"
    assert json.loads(written)["code"] == "2823-3"
    assert (
        "2823-3^Potassium^LN^K^Kalium^L" in (files / "potassium.ward.expected.hl7").read_text("utf-8").splitlines()[3]
    )
    (again,) = run(folder)
    assert again.passed
    assert again.written == ()


def test_update_never_writes_over_an_expectation(folder: Path) -> None:
    files = case(folder)
    run(folder, update=True)
    expected = files / "potassium.ehr.expected.json"
    expected.write_text(expected.read_text().replace("4.10", "4.1"))
    (result,) = run(folder, update=True)
    assert result.written == ()
    assert [str(d) for d in result.differences] == ["ehr: /value expected 4.1 actual 4.10"]


def test_a_difference_names_the_field(folder: Path) -> None:
    files = case(folder)
    run(folder, update=True)
    case(folder, MESSAGE.replace("mmol/L", "mmol/l"))
    assert said(run(folder)) == ["ward: OBX-6 expected mmol/L actual mmol/l"]
    answer = files / "potassium.answer.hl7"
    answer.write_text(answer.read_text().replace("|AA|", "|AE|"))
    assert "answer: MSA-1 expected AE actual AA" in said(run(folder))


def test_a_filter_must_be_expected(folder: Path) -> None:
    files = case(folder, MESSAGE.replace("PV1|1|I", "PV1|1|O"))
    assert "ward expected wanted actual filtered" in said(run(folder))
    run(folder, update=True)
    assert (files / "potassium.toml").read_text() == 'filtered = ["ward"]\n'
    assert said(run(folder)) == []
    case(folder)
    assert said(run(folder))[:1] == ["ward expected filtered actual wanted"]


def test_a_held_delivery_must_be_expected_with_its_code(folder: Path) -> None:
    files = case(folder, MESSAGE.replace("K^Kalium", "HOLD^Hold"))
    assert "ehr expected held: no actual held: unmapped" in said(run(folder))
    run(folder, update=True)
    assert (files / "potassium.toml").read_text() == 'held = { ehr = "unmapped" }\n'
    assert said(run(folder)) == []


def test_findings_are_judged_where_they_are_written(folder: Path) -> None:
    files = case(folder, MESSAGE.replace("K^Kalium", "GLU^Glucose"))
    run(folder, update=True)
    assert (files / "potassium.toml").read_text() == 'findings = { ehr = ["unmapped"] }\n'
    (files / "potassium.toml").write_text("findings = {}\n")
    assert said(run(folder)) == ['findings: /ehr expected (absent) actual ["unmapped"]']


def test_a_converter_that_raises_is_told_without_values_and_never_expected(folder: Path) -> None:
    files = case(folder, MESSAGE.replace("K^Kalium", "CRASH^Crash"))
    assert "ehr expected an output actual dead: KeyError was raised" in said(run(folder, update=True))
    assert [path.name for path in files.iterdir()] == ["potassium.in.hl7"], "a failure is nothing to expect"


def test_a_predicate_that_raises_is_told(folder: Path) -> None:
    case(folder, MESSAGE.replace("PV1|1|I", "PV1|1|X"))
    assert "verdict expected accepted actual predicate_failed" in said(run(folder))


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("ORU^R01", "ADT^A01", "not_accepted"),
        ("INTERLOCK-TEST", "REAL", "wrong_environment"),
        ("|1|T|", "|1|P|", "wrong_environment"),
    ],
)
def test_a_refusal_is_an_expectation_too(folder: Path, old: str, new: str, verdict: str) -> None:
    files = case(folder, MESSAGE.replace(old, new))
    found = said(run(folder))
    assert f"verdict expected accepted actual {verdict}" in found
    assert any(line.startswith("answer expected (nothing is expected") for line in found)
    run(folder, update=True)
    assert (files / "potassium.toml").read_text() == f'verdict = "{verdict}"\n'
    assert said(run(folder)) == []


def test_an_application_answer_is_the_destinations_and_not_rehearsed(folder: Path) -> None:
    toml = folder / "channel.toml"
    toml.write_text(CHANNEL.replace("accept =", 'answer = "application"\naccept =') + "answers = true\n")
    files = case(folder)
    (result,) = run(folder, update=True)
    assert result.passed
    assert not (files / "potassium.answer.hl7").exists()


def test_the_clock_stands_still_and_a_case_may_set_it(folder: Path) -> None:
    files = case(folder)
    run(folder, update=True)
    assert json.loads((files / "potassium.ehr.expected.json").read_text())["at"] == 1_767_614_400_000_000
    (files / "potassium.toml").write_text("at = 2026-01-05T12:00:01Z\n")
    assert "ehr: /at expected 1767614400000000 actual 1767614401000000" in said(run(folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("filterd = []", "unknown key filterd; one of verdict, filtered, held, findings, at"),
        ("filtered = 'ward'", "filtered must be a list"),
        ("at = 2026-01-05T12:00:00", "at must be a date and time with offset"),
        ("at =", "Invalid value"),
    ],
)
def test_a_wrong_case_file_is_a_failure_not_a_crash(folder: Path, text: str, says: str) -> None:
    files = case(folder)
    (files / "potassium.toml").write_text(text)
    (found,) = said(run(folder))
    assert found.startswith("potassium.toml expected an expectation actual ")
    assert says in found


def test_an_output_nobody_sends_any_more_is_a_difference(folder: Path) -> None:
    files = case(folder)
    run(folder, update=True)
    (files / "potassium.gone.expected.json").write_text("{}")
    assert said(run(folder)) == ["gone expected potassium.gone.expected.json actual no output"]


def test_cases_are_found_by_name(folder: Path) -> None:
    case(folder, name="b")
    case(folder, name="a.2")
    assert [found.name for found in cases(read_channel(folder))] == ["a.2", "b"]
