"""Checking and testing channels, converting files, and channel states without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli_help import Cli

CHANNEL = """\
name = "relay"
title = "Relay"
class = "message"
environment = "test"

[source]
listen = "memory:relay"

[[destination]]
name = "out"
to = "memory:out"
"""
MESSAGE = (
    "MSH|^~\\&|LAB|INTERLOCK-TEST|EHR|INTERLOCK-TEST|20260105120000||ORU^R01^ORU_R01|{id}|T|2.5.1\n"
    "PID|1||P1^^^INTERLOCK-TEST^MR||Willow^Wendy\n"
    "OBR|1|O1|F1|K^Potassium^L\n"
    "OBX|1|NM|K^Potassium^L||5.1|mmol/L|||||F\n"
)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    folder = tmp_path / "channels"
    (folder / "relay" / "cases").mkdir(parents=True)
    (folder / "relay" / "channel.toml").write_text(CHANNEL)
    (folder / "relay" / "cases" / "one.in.hl7").write_text(MESSAGE.format(id="M1"))
    return folder


def test_sound_channels_are_status_0(cli: Cli, channels: Path) -> None:
    ran = cli("check", channels, "--json")
    assert (ran.status, ran.json["ok"], ran.json["channels"]) == (0, True, ["relay"])
    assert cli("check", channels / "relay").status == 0


def test_a_fault_has_its_file_line_and_suggestion(cli: Cli, channels: Path) -> None:
    file = channels / "relay" / "channel.toml"
    file.write_text(CHANNEL.replace("environment", "enviroment"))
    ran = cli("check", channels)
    assert ran.status == 1
    assert ran.out.startswith(f"{file}:4: ")
    assert "environment" in ran.out
    (fault,) = cli("check", channels, "--json").json["faults"]
    assert (fault["line"], fault["severity"]) == (4, "error")


def test_a_folder_that_is_not_there_is_no(cli: Cli, tmp_path: Path) -> None:
    assert cli("check", tmp_path / "none").status == 1


def test_cases_fail_until_something_is_expected_and_then_show_what_differs(cli: Cli, channels: Path) -> None:
    assert cli("test", channels).status == 1
    written = cli("test", channels, "--update", "--json")
    assert written.status == 0
    assert any(name.endswith("one.out.expected.hl7") for name in written.json["results"][0]["written"])
    assert cli("test", channels).status == 0
    (channels / "relay" / "cases" / "one.in.hl7").write_text(MESSAGE.format(id="M1").replace("|5.1|", "|6.1|"))
    ran = cli("test", channels)
    assert ran.status == 1
    assert "OBX-5" in ran.out
    (difference,) = cli("test", channels, "--json").json["results"][0]["differences"]
    assert (difference["expected"], difference["actual"]) == ("5.1", "6.1")


def test_serve_strict_refuses_a_folder_with_a_fault(cli: Cli, channels: Path, tmp_path: Path) -> None:
    (channels / "relay" / "channel.toml").write_text("name = 1\n")
    ran = cli("serve", "--strict", "--channels", channels, "--data", tmp_path / "data")
    assert ran.status == 1
    assert "channel.toml:1" in ran.err
    assert not (tmp_path / "data").exists()


def test_channels_are_listed_without_a_server(cli: Cli, channels: Path, tmp_path: Path) -> None:
    (channel,) = cli("channel", "list", "--channels", channels, "--data", tmp_path / "d", "--json").json["channels"]
    assert (channel["name"], channel["state"], channel["trouble"]) == ("relay", "started", "no server runs")
    assert "relay" in cli("channel", "list", "--channels", channels, "--data", tmp_path / "d").out
    refused = cli("channel", "stop", "relay", "--channels", channels, "--data", tmp_path / "d")
    assert refused.status == 1
    assert not (tmp_path / "d").exists()


def test_one_file_converts_to_standard_output(cli: Cli, channels: Path) -> None:
    ran = cli("convert", channels / "relay" / "cases" / "one.in.hl7", "--to", "fhir")
    assert ran.status == 0
    assert ran.json["resourceType"] == "Bundle"


def test_a_folder_converts_with_a_line_for_each_and_never_stops(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "a.hl7").write_text(MESSAGE.format(id="A"))
    (source / "bad.hl7").write_text("no message")
    (source / "deep" / "two.hl7").write_text(MESSAGE.format(id="B") + MESSAGE.format(id="C"))
    words = ("convert", source, "--to", "hl7v2", "--out", tmp_path / "out", "--report", tmp_path / "report.jsonl")
    ran = cli(*words, "--json")
    assert ran.status == 1
    assert (ran.json["messages"], ran.json["converted"], ran.json["failed"]) == (4, 3, 1)
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [line["ok"] for line in lines] == [True, False, True, True]
    assert lines[0].keys() >= {"path", "ok", "resources", "unmapped", "warnings", "error"}
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.hl7"))
    assert names == ["a.hl7.hl7", "deep/two.hl7-2.hl7", "deep/two.hl7.hl7"]
    assert "bad.hl7" in ran.err


@pytest.mark.parametrize(
    "words", [["--to", "script"], ["--to", "ccd"], ["--to", "html"], ["--to", "fhir", "--from", "ccd"]]
)
def test_conversions_of_later_versions_say_so(cli: Cli, channels: Path, words: list[str]) -> None:
    ran = cli("convert", channels / "relay" / "cases" / "one.in.hl7", *words)
    assert ran.status == 2
    assert "comes later" in ran.err


@pytest.mark.parametrize(
    "words", [["--to", "xml"], ["--to", "fhir", "--from", "x"], [], ["--to", "fhir", "--timezone", "Moon"]]
)
def test_converting_wrongly_is_wrong_use(cli: Cli, channels: Path, words: list[str]) -> None:
    assert cli("convert", channels / "relay" / "cases" / "one.in.hl7", *words).status == 2
    assert cli("convert", channels, "--to", "fhir").status == 2
    assert cli("convert", channels / "none.hl7", "--to", "fhir").status == 2
