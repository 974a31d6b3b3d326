"""The laboratory's morning is always the same one, and it is sent as a laboratory must send it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest

from engine.bench.messages import END, START
from engine.demo.ehr import MllpEhr
from engine.demo.laboratory import UNMAPPED_CODE, Kind, Laboratory, Result, results, sample

MESSAGES = results()


def of(kind: Kind) -> list[Result]:
    return [message for message in MESSAGES if message.kind is kind]


def test_every_run_has_the_same_morning_and_another_seed_another() -> None:
    assert results() == MESSAGES
    assert results(seed=1) != MESSAGES


def test_there_are_a_few_hundred_and_one_of_each_special_kind() -> None:
    counts = Counter(message.kind for message in MESSAGES)
    assert 200 <= len(MESSAGES) <= 400
    assert set(counts) == set(Kind)
    assert counts[Kind.UNMAPPED] == counts[Kind.UNREADABLE] == counts[Kind.CRITICAL] == 1


def test_all_are_marked_synthetic() -> None:
    for message in MESSAGES:
        assert b"|T|2.5.1\r" in message.payload
        assert b"^^^INTERLOCK-TEST^MR|" in message.payload


def test_a_resend_is_the_same_bytes_after_the_first() -> None:
    for resend in of(Kind.RESEND):
        first = next(m for m in MESSAGES if m.control_id == resend.control_id)
        assert first.kind is Kind.FINAL
        assert first.payload == resend.payload
        assert MESSAGES.index(first) < MESSAGES.index(resend)


def test_control_ids_and_contents_are_otherwise_unique() -> None:
    others = [message for message in MESSAGES if message.kind is not Kind.RESEND]
    assert len({message.control_id for message in others}) == len(others)
    assert len({message.payload for message in others}) == len(others)


def test_an_order_goes_on_in_a_sensible_sequence_for_one_patient() -> None:
    stages = defaultdict(list)
    patients = defaultdict(set)
    for message in MESSAGES:
        stages[message.order].append(message.status)
        patients[message.order].add(message.patient)
    assert {"".join(statuses) for statuses in stages.values()} == {"F", "FF", "PF", "FC"}
    assert all(len(group) == 1 for group in patients.values())


def test_the_special_ones_are_what_they_say() -> None:
    assert of(Kind.UNMAPPED)[0].payload.count(UNMAPPED_CODE.encode() + b"^") == 1
    assert sum(UNMAPPED_CODE.encode() in message.payload for message in MESSAGES) == 1
    assert b"|HH|" in of(Kind.CRITICAL)[0].payload
    assert not of(Kind.UNREADABLE)[0].payload.startswith(b"MSH")
    assert not of(Kind.UNREADABLE)[0].arrives
    assert all(b"|C|||" in message.payload for message in of(Kind.CORRECTION))


def test_the_readers_sample_is_none_of_them() -> None:
    assert sample("MINE0001") not in {message.payload for message in MESSAGES}
    assert sample("MINE0001") == sample("MINE0001")
    assert sample("MINE0001").startswith(b"MSH|")


def test_an_ehr_gets_each_patients_messages_in_order_and_every_answer_is_kept() -> None:
    async def story() -> tuple[Laboratory, MllpEhr]:
        ehr = MllpEhr()
        laboratory = Laboratory(await ehr.start())
        await laboratory.send([message for message in MESSAGES if message.arrives])
        ehr.go_down()
        await asyncio.sleep(0)
        return laboratory, ehr

    laboratory, ehr = asyncio.run(story())
    assert laboratory.codes() == Counter(AA=len(MESSAGES) - 1)
    sent, arrived = defaultdict(list), defaultdict(list)
    patient = {message.control_id: message.patient for message in MESSAGES}
    for message in MESSAGES:
        if message.arrives:
            sent[message.patient].append(message.control_id)
    for control_id in ehr.arrived:
        arrived[patient[control_id]].append(control_id)
    assert arrived == sent


@pytest.mark.parametrize(
    ("answer", "code", "positive"),
    [
        (b"MSH|^~\\&|X\rMSA|AA|OTHER\r", "mismatch", False),
        (b"MSH|^~\\&|X\rMSA|AE|\r", "AE", False),
        (b"MSH|^~\\&|X\rMSA|CA|%s\r" % MESSAGES[0].control_id.encode(), "CA", True),
        (b"MSH|^~\\&|X\r", "", False),
        (None, "", False),
    ],
    ids=["for another message", "negative", "commit accept", "no MSA", "connection closed"],
)
def test_only_a_positive_answer_to_this_message_is_positive(answer: bytes | None, code: str, positive: bool) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(END)
        if answer is not None:
            writer.write(START + answer + END)
            await reader.read()
        writer.close()

    async def story() -> Laboratory:
        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        laboratory = Laboratory(server.sockets[0].getsockname()[1])
        await laboratory.send(MESSAGES[:1])
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)
        return laboratory

    [given] = asyncio.run(story()).answers
    assert (given.code, given.positive) == (code, positive)
