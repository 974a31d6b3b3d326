"""The path on both stores: accept, carry and settle together, without a wire."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from engine.errors import Held, Reply, Weight
from engine.large import LARGE_BYTES
from engine.model import Finding, Outcome
from engine.store.sealing import OrganizationKeys
from engine.wiring import HOUR, Channel, SourceSpec
from tests.building import Path_, channel, merge, oru, path, spec

pytestmark = pytest.mark.usefixtures("both_stores")


def run(folder: Path, wiring: Channel | None, story, **more):  # type: ignore[no-untyped-def]
    async def whole() -> None:
        async with path(folder, wiring, **more) as line:
            await story(line)

    asyncio.run(asyncio.wait_for(whole(), 30))


def test_a_message_is_kept_answered_and_delivered_byte_for_byte(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        answer = await line.send(oru())
        assert answer.positive and answer.payload is not None and b"MSA|AA|C1" in answer.payload
        await line.quiet()
        assert line.destinations["ehr"].received == [oru()]
        assert await line.states() == ["delivered"]

    run(tmp_path, None, story)


def test_the_same_message_again_gets_the_stored_answer_and_is_not_delivered(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        first = await line.send(oru())
        again = await line.send(oru().replace(b"20260301101500", b"20260301101559", 1))
        await line.quiet()
        assert again.payload == first.payload
        assert len(line.destinations["ehr"].received) == 1
        messages = await line.rows("SELECT state, original FROM message ORDER BY id")
        assert messages[1] == ("duplicate", first.verdict.message)

    run(tmp_path, None, story)


def test_a_used_control_id_with_other_content_is_delivered_and_flagged(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        await line.send(oru(value="13.9"))
        assert (await line.send(oru(value="31.9"))).positive
        await line.quiet()
        assert len(line.destinations["ehr"].received) == 2
        assert any(b"control_id_reused" in body for (body,) in await line.rows("SELECT body FROM event"))

    run(tmp_path, None, story)


def test_a_strict_sender_gets_an_error_and_nothing_is_kept_for_delivery(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        await line.send(oru(value="13.9"))
        answer = await line.send(oru(value="31.9"))
        await line.quiet()
        assert answer.verdict.reply is Reply.ERROR
        assert len(line.destinations["ehr"].received) == 1

    run(tmp_path, channel(source=SourceSpec("memory://in", control_id="strict")), story)


def test_what_cannot_be_read_is_kept_and_answered_negatively_once(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        for _ in range(2):
            assert not (await line.send(b"MSH|^~\\&|LAB\rPID|1\r")).positive
        states = [row[0] for row in await line.rows("SELECT state FROM message ORDER BY id")]
        assert states == ["held", "duplicate"]

    run(tmp_path, None, story)


def test_a_refused_message_leaves_no_bytes(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        assert (await line.send(oru())).verdict.reply is Reply.REJECT
        assert await line.rows("SELECT state, size > 0 FROM message") == [("refused", 1)]
        assert await line.rows("SELECT * FROM payload") == []

    run(tmp_path, None, story, agreed=False)


@pytest.mark.parametrize(
    ("environment", "raw", "positive"),
    [
        ("production", oru(processing="P"), True),
        ("production", oru(processing="T"), False),
        ("test", oru(processing="P", authority="INTERLOCK-TEST"), False),
        ("test", oru(processing="T", authority="INTERLOCK-TEST"), True),
        ("test", oru(processing="T", authority="NORTH"), False),
        ("production", oru(processing=""), True),
        ("test", oru(processing="T", authority="INTERLOCK-TEST").replace(b"PID|1||", b"PID|1|77^^^REAL|"), False),
        ("test", oru(processing="T", authority="INTERLOCK-TEST").replace(b"PID|1||", b"PID|1|77|"), False),
        ("test", oru(processing="T", patient=""), False),
        ("test", oru(processing="T", authority="INTERLOCK-TEST").replace(b"|F\r", b"|F|||||||||||123\r", 1), False),
    ],
)
def test_environments_do_not_mix(tmp_path: Path, environment: str, raw: bytes, positive: bool) -> None:
    async def story(line: Path_) -> None:
        assert (await line.send(raw)).positive is positive

    run(tmp_path, channel(environment=environment), story)


def test_a_transient_failure_is_tried_again_until_its_attempts_are_spent(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        busy = Outcome("HTTP 503", Weight.TRANSIENT)
        line.destinations["ehr"].then(busy, busy, busy)
        await line.send(oru())
        while await line.states() != ["dead"]:
            await asyncio.sleep(0.01)
        assert await line.rows("SELECT count(*), max(number) FROM attempt") == [(3, 3)]

    run(tmp_path, None, story)


def test_an_attempt_in_doubt_sends_the_stored_bytes_again(tmp_path: Path) -> None:
    calls = []

    def convert(parsed, tables, context):  # type: ignore[no-untyped-def]
        from engine.model import Converted

        calls.append(1)
        return Converted(b"output %d" % len(calls))

    async def story(line: Path_) -> None:
        line.destinations["ehr"].then(Outcome("timeout", Weight.AMBIGUOUS))
        await line.send(oru())
        while await line.states() != ["delivered"]:
            await asyncio.sleep(0.01)
        assert line.destinations["ehr"].received == [b"output 1", b"output 1"]
        assert [s.resend for s in line.destinations["ehr"].sendings] == [False, True]

    run(tmp_path, channel(spec(convert="x:y")), story, converters={"ehr": convert})


@pytest.mark.parametrize(("error", "state"), [(Held("unmapped", code="unmapped"), "held"), (KeyError("x"), "dead")])
def test_a_conversion_that_raises_puts_the_delivery_aside(tmp_path: Path, error: Exception, state: str) -> None:
    def convert(parsed, tables, context):  # type: ignore[no-untyped-def]
        raise error

    async def story(line: Path_) -> None:
        assert (await line.send(oru())).positive
        await line.quiet()
        await asyncio.sleep(0.05)
        assert await line.states() == [state]

    run(tmp_path, channel(spec(convert="x:y")), story, converters={"ehr": convert})


def test_a_held_result_blocks_only_its_order(tmp_path: Path) -> None:
    def convert(parsed, tables, context):  # type: ignore[no-untyped-def]
        from engine.model import Converted

        if parsed.get("MSH-10") == "C1":
            raise Held("unmapped", code="unmapped")
        return Converted(parsed.write())

    async def story(line: Path_) -> None:
        for control, order in (("C1", "A"), ("C2", "A"), ("C3", "B")):
            await line.send(oru(control, order=order))
        while len(line.destinations["ehr"].received) < 1:
            await asyncio.sleep(0.01)
        await line.quiet()
        assert line.destinations["ehr"].received == [oru("C3", order="B")]
        assert await line.states() == ["held", "queued", "delivered"]

    run(tmp_path, channel(spec(convert="x:y")), story, converters={"ehr": convert})


def test_an_unreachable_destination_spends_no_attempt_and_delivers_when_it_is_back(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        ehr = line.destinations["ehr"]
        ehr.reachable = False
        for number in range(20):
            await line.send(oru(f"C{number}", f"P{number}"))
        assert ehr.received == []
        ehr.reachable = True
        while len(ehr.received) < 20:
            await asyncio.sleep(0.01)
        await line.quiet()
        assert await line.rows("SELECT DISTINCT state, attempts FROM delivery") == [("delivered", 0)]
        assert (await line.rows("SELECT count(*) FROM attempt WHERE code = 'unreachable'"))[0][0] < 10

    run(tmp_path, None, story)


def test_one_lane_waits_for_each_answer_and_lanes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        ehr = line.destinations["ehr"]
        slow: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        ehr.then(slow)
        for control, patient in (("C1", "P1"), ("C2", "P1"), ("C3", "P2")):
            await line.send(oru(control, patient))
        while len(ehr.received) < 2:
            await asyncio.sleep(0.01)
        assert ehr.received == [oru("C1", "P1"), oru("C3", "P2")]
        slow.set_result(Outcome("AA"))
        while len(ehr.received) < 3:
            await asyncio.sleep(0.01)
        assert ehr.received[2] == oru("C2", "P1")

    run(tmp_path, None, story)


def test_a_merge_goes_out_after_both_lanes_and_before_what_follows(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        ehr = line.destinations["ehr"]
        slow = [asyncio.get_running_loop().create_future() for _ in range(2)]
        ehr.then(*slow)
        for raw in (oru("C1", "P1"), oru("C2", "P2"), merge("C3", "P1", "P2"), oru("C4", "P2"), oru("C5", "P1")):
            await line.send(raw)
        while len(ehr.received) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(ehr.received) == 2
        slow[0].set_result(Outcome("AA"))
        await asyncio.sleep(0.05)
        assert len(ehr.received) == 2
        slow[1].set_result(Outcome("AA"))
        while len(ehr.received) < 5:
            await asyncio.sleep(0.01)
        assert ehr.received[2] == merge("C3", "P1", "P2")
        assert sorted(ehr.received[3:]) == sorted([oru("C4", "P2"), oru("C5", "P1")])

    run(tmp_path, channel(kind="message"), story)


def test_filtered_by_a_fact_with_the_rule_kept(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        await line.send(oru("C1"))
        await line.send(oru("C2", flag="HH"))
        await line.quiet()
        assert line.destinations["pager"].received == [oru("C2", flag="HH")]
        states = await line.rows("SELECT state, rule FROM delivery WHERE destination = 'pager' ORDER BY id")
        assert states == [("filtered", "filtered: abnormal is none of HH LL"), ("delivered", "when abnormal in HH LL")]

    run(tmp_path, channel(spec(), spec("pager", when={"abnormal": ("HH", "LL")})), story)


def test_the_sender_hears_what_the_answering_destination_said(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        line.destinations["ehr"].then(Outcome("AR", Weight.PERMANENT))
        assert b"MSA|AR|C1" in ((await line.send(oru("C1"))).payload or b"")
        assert b"MSA|AA|C2" in ((await line.send(oru("C2", "P2"))).payload or b"")
        assert b"MSA|AR|C1" in ((await line.send(oru("C1"))).payload or b"")

    run(tmp_path, channel(spec(answers=True), source=SourceSpec("memory://in", answer="application")), story)


def test_a_late_answering_destination_gives_the_sender_an_error_and_delivery_goes_on(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        slow: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        line.destinations["ehr"].then(slow)
        answer = await line.send(oru("C1"))
        assert answer.verdict.code == "answer_late"
        slow.set_result(Outcome("AA"))
        while await line.states() != ["delivered"]:
            await asyncio.sleep(0.01)

    source = SourceSpec("memory://in", answer="application", answer_within=50_000)
    run(tmp_path, channel(spec(answers=True), source=source), story)


def test_a_batch_is_taken_apart_and_answered_as_one(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        batch = b"BHS|^~\\&|LAB\r" + oru("C1") + oru("C2", "P2") + b"BTS|2\r"
        answer = await line.send(batch)
        await line.quiet()
        assert answer.positive and answer.payload is not None and answer.payload.count(b"MSA|AA") == 2
        assert sorted(line.destinations["ehr"].received) == sorted([oru("C1"), oru("C2", "P2")])

    run(tmp_path, None, story)


def test_a_clock_that_is_set_back_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        line.destinations["ehr"].then(Outcome("HTTP 503", Weight.TRANSIENT, retry_after=50_000))
        await line.send(oru())
        line.store._clock.back = HOUR  # type: ignore[attr-defined]
        while await line.states() != ["delivered"]:
            await asyncio.sleep(0.01)

    run(tmp_path, None, story)


def test_a_checked_message_goes_on_and_what_was_found_waits_for_a_person(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        await line.send(oru("C1"))
        await line.send(oru("C2", "P2"))
        await line.quiet()
        assert await line.states() == ["delivered", "delivered"]
        assert await line.rows("SELECT code, count FROM item") == [("nonconformant", 2)]

    findings = [Finding("required", "PID-3", "a required part is missing")]
    run(tmp_path, channel(source=SourceSpec("memory://in", validate="hl7apy")), story, findings=findings)


def test_a_predicate_that_raises_holds_the_message_and_the_sender_may_forget_it(tmp_path: Path) -> None:
    def predicate(identity):  # type: ignore[no-untyped-def]
        raise KeyError("x")

    async def story(line: Path_) -> None:
        assert (await line.send(oru("C1"))).positive
        assert await line.rows("SELECT state, reason FROM message") == [("held", "predicate_failed")]

    run(tmp_path, channel(spec(when="x:y")), story, predicates={"ehr": predicate})


def test_a_large_message_is_read_beside_the_loop(tmp_path: Path) -> None:
    threads = []

    def predicate(identity):  # type: ignore[no-untyped-def]
        threads.append(threading.current_thread() is threading.main_thread())
        return True

    async def story(line: Path_) -> None:
        large = oru("C2", "P2", "x" * LARGE_BYTES)
        assert (await line.send(oru("C1"))).positive
        assert (await line.send(large)).positive
        assert (await line.send(large)).positive
        await line.quiet()
        assert threads == [True, False, False]
        assert line.destinations["ehr"].received == [oru("C1"), large]

    run(tmp_path, channel(spec(when="x:y")), story, predicates={"ehr": predicate})


def test_a_large_stored_message_is_opened_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    opened = OrganizationKeys.open

    def observed(self, sealed, place):  # type: ignore[no-untyped-def]
        threads.append(threading.current_thread() is threading.main_thread())
        return opened(self, sealed, place)

    async def story(line: Path_) -> None:
        kept = await line.send(oru("C1", value="x" * LARGE_BYTES))
        assert await line.store.load(line.running.channel.owner, kept.verdict.message)
        assert threads == [False]

    monkeypatch.setattr(OrganizationKeys, "open", observed)
    run(tmp_path, None, story)


def test_of_a_batch_the_refusal_is_answered_first(tmp_path: Path) -> None:
    async def story(line: Path_) -> None:
        batch = b"BHS|^~\\&|LAB\r" + oru("C1") + oru("C2", "P2", processing="T") + b"BTS|2\r"
        answer = await line.send(batch)
        assert not answer.positive and answer.payload is not None
        assert answer.payload.index(b"MSA|AR|C2") < answer.payload.index(b"MSA|AA|C1")

    run(tmp_path, None, story)
