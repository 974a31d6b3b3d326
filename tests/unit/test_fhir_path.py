"""FHIR on the path: what is a duplicate and what is news, what is held, and what a channel takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import registry
from engine.formats.fhir import Fhir
from engine.wiring import SourceSpec
from tests.building import Path_, channel, path

MINE = {"system": "https://interlock.example/authority/test", "value": "1"}
TEST = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0103", "code": "T"}]}


def patient(city: str, **more: Any) -> bytes:
    resource = {"resourceType": "Patient", "identifier": [MINE], "address": [{"city": city}], **more}
    return json.dumps(resource).encode()


def bundle(*resources: bytes, **more: Any) -> bytes:
    entries = [{"resource": json.loads(one), "request": {"method": "POST", "url": "Patient"}} for one in resources]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries, **more}).encode()


def run(folder: Path, test: Callable[[Path_], Awaitable[None]], **more: Any) -> None:
    async def whole() -> None:
        source = SourceSpec("memory://in", format="fhir", **more.pop("source", {}))
        async with path(folder, channel(source=source, **more)) as line:
            made = registry.running(replace(line.running.channel, source=source))
            line.running.format, line.running.effort = made.format, made.effort
            await test(line)

    asyncio.run(whole())


async def sent(line: Path_, *messages: bytes) -> list[str]:
    """Send them; gives the state of each message."""
    for raw in messages:
        await line.send(raw)
    await line.quiet()
    return [row[0] for row in await line.rows("SELECT state FROM message ORDER BY id")]


def test_an_update_that_restores_what_was_is_news(tmp_path: Path) -> None:
    async def test(line: Path_) -> None:
        there, elsewhere = patient("Duluth", id="p1"), patient("Cloquet", id="p1")
        assert await sent(line, there, elsewhere, there) == ["accepted"] * 3
        assert line.destinations["ehr"].received == [there, elsewhere, there]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("first", "again", "states"),
    [
        (patient("Duluth"), patient("Duluth"), ["accepted", "duplicate"]),
        (patient("Duluth"), patient("Cloquet"), ["accepted", "accepted"]),
        (bundle(patient("Duluth")), bundle(patient("Duluth")), ["accepted", "duplicate"]),
        (bundle(patient("Duluth"), identifier={"value": "1"}), bundle(patient("Duluth"), identifier={"value": "2"}),
         ["accepted", "accepted"]),
        (patient("Duluth", id="p1", meta={"versionId": "1"}), patient("Duluth", id="p1", meta={"versionId": "1"}),
         ["accepted", "duplicate"]),
    ],
)  # fmt: skip
def test_what_creates_the_same_again_is_a_duplicate(
    tmp_path: Path, first: bytes, again: bytes, states: list[str]
) -> None:
    async def test(line: Path_) -> None:
        assert await sent(line, first, again) == states

    run(tmp_path, test)


def test_a_duplicate_is_answered_as_the_first_time(tmp_path: Path) -> None:
    async def test(line: Path_) -> None:
        answers = [(await line.send(bundle(patient("Duluth")))).payload for _ in range(2)]
        assert answers[0] == answers[1]
        assert json.loads(answers[0] or b"")["type"] == "transaction-response"

    run(tmp_path, test)


@pytest.mark.parametrize("raw", [b'{"resourceType":"Patient","nonsense":1}', b'{"a":1,"a":2}', b"MSH|^~\\&|"])
def test_what_cannot_be_read_or_has_no_shape_is_kept_and_held_once(tmp_path: Path, raw: bytes) -> None:
    async def test(line: Path_) -> None:
        answer = await line.send(raw)
        assert not answer.positive
        assert json.loads(answer.payload or b"")["issue"][0]["severity"] == "error"
        assert await sent(line, raw) == ["held", "duplicate"]
        (number,) = (await line.rows("SELECT id FROM message WHERE state = 'held'"))[0]
        assert await line.store.load("site", number) == raw

    run(tmp_path, test)


def test_a_channel_that_checks_nothing_takes_what_is_json(tmp_path: Path) -> None:
    async def test(line: Path_) -> None:
        assert await sent(line, b'{"resourceType":"Patient","nonsense":1}') == ["accepted"]

    run(tmp_path, test, source={"validate": "off"})


@pytest.mark.parametrize(
    ("accept", "states"),
    [
        ((), ["accepted", "accepted"]),
        (("*",), ["accepted", "accepted"]),
        (("Patient",), ["accepted", "refused"]),
        (("Bundle",), ["refused", "accepted"]),
        (("Bundle/transaction",), ["refused", "accepted"]),
        (("Bundle/transaction/Patient",), ["refused", "accepted"]),
        (("Bundle/trans", "Pat"), ["refused", "refused"]),
    ],
)
def test_a_channel_takes_the_types_that_it_names(tmp_path: Path, accept: tuple[str, ...], states: list[str]) -> None:
    async def test(line: Path_) -> None:
        assert await sent(line, patient("Duluth"), bundle(patient("Duluth"))) == states

    run(tmp_path, test, source={"accept": accept})


def test_what_is_marked_as_a_test_never_enters_production(tmp_path: Path) -> None:
    async def test(line: Path_) -> None:
        answer = await line.send(patient("Duluth", meta=TEST))
        assert answer.verdict.code == "wrong_environment"
        assert json.loads(answer.payload or b"")["issue"][0]["expression"] == ["meta.tag"]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (patient("Duluth", meta=TEST), "accepted"),
        (patient("Duluth"), "wrong_environment"),
        (patient("Duluth", meta=TEST, identifier=[{"system": "urn:oid:1.2.3", "value": "1"}]), "wrong_environment"),
        (bundle(patient("Duluth", meta=TEST), b'{"resourceType":"Patient","id":"2"}'), "wrong_environment"),
        (patient("Duluth", meta=TEST, identifier=[MINE, {**MINE, "type": {"coding": [{"code": "SS"}]}}]),
         "wrong_environment"),
        (b'{"resourceType":"Group","type":"person","actual":true}', "wrong_environment"),
    ],
)  # fmt: skip
def test_a_test_channel_takes_invented_patients_only(tmp_path: Path, raw: bytes, code: str) -> None:
    async def test(line: Path_) -> None:
        assert (await line.send(raw)).verdict.code == code

    run(tmp_path, test, environment="test")


def test_results_of_one_patient_share_a_lane(tmp_path: Path) -> None:
    async def test(line: Path_) -> None:
        result = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
        for value, number in (("1", "a"), ("2", "a"), ("3", "b")):
            subject = {"identifier": {**MINE, "value": number}}
            await line.send(json.dumps({**result, "subject": subject, "valueString": value}).encode())
        await line.quiet()
        lanes = [row[0] for row in await line.rows("SELECT lane FROM delivery ORDER BY id")]
        assert (lanes[0] == lanes[1], lanes[1] == lanes[2]) == (True, False)

    run(tmp_path, test)


def test_the_check_of_a_message_weighs_more_than_reading_it() -> None:
    assert Fhir.effort > 1
    wiring = channel(source=SourceSpec("memory://in", format="fhir", fhir_version="STU3"))
    running = registry.running(wiring)
    assert running.effort == Fhir.effort
    assert running.format.identify(b'{"resourceType":"Patient"}').version == "STU3"
