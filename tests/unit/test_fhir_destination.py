"""The fhir destination over a real socket: what each status means, late reports, and messages that answer messages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from contract.connectors.harness_fhir import KIND, bundle, issue
from contract.connectors.http_peer import Peer, answer

from engine.connectors import fhir
from engine.errors import Weight
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", KIND)
TRANSIENT, PERMANENT, AMBIGUOUS = Weight.TRANSIENT, Weight.PERMANENT, Weight.AMBIGUOUS


def deliver(payload: Any, *wires: bytes, **options: Any) -> tuple[Outcome, list[str]]:
    """Deliver once to a server that answers each request with the next of `wires`; gives what was asked for."""
    shows = {str(number): wire for number, wire in enumerate(wires)}

    async def run() -> tuple[Outcome, list[str]]:
        peer = Peer(shows)
        await peer.up()
        peer.show(*shows)
        spec = DestinationSpec("d", f"fhir+http://127.0.0.1:{peer.port}/fhir", options=options)
        destination = fhir.destination("c", spec)
        outcome = await destination.deliver(json.dumps(payload, separators=(",", ":")).encode(), SENDING)
        await destination.close()
        await peer.down()
        return outcome, [" ".join(head.decode().split(" ")[:2]) for head in peer.heads]

    return asyncio.run(run())


PATIENT = {"resourceType": "Patient", "id": "p1"}
ENTRY = {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/p1"}}
TRANSACTION = {"resourceType": "Bundle", "type": "transaction", "entry": [ENTRY]}

STATUSES = [
    ("200 OK", None), ("201 Created", None), ("202 Accepted", None), ("204 No Content", None),
    ("300 Multiple Choices", PERMANENT), ("301 Moved Permanently", PERMANENT), ("302 Found", PERMANENT),
    ("303 See Other", PERMANENT), ("304 Not Modified", PERMANENT), ("307 Temporary Redirect", PERMANENT),
    ("308 Permanent Redirect", PERMANENT),
    ("400 Bad Request", PERMANENT), ("401 Unauthorized", TRANSIENT), ("403 Forbidden", PERMANENT),
    ("404 Not Found", PERMANENT), ("405 Method Not Allowed", PERMANENT), ("406 Not Acceptable", PERMANENT),
    ("408 Request Timeout", TRANSIENT), ("409 Conflict", TRANSIENT), ("410 Gone", PERMANENT),
    ("412 Precondition Failed", PERMANENT), ("413 Content Too Large", PERMANENT),
    ("415 Unsupported Media Type", PERMANENT), ("422 Unprocessable Content", PERMANENT), ("423 Locked", TRANSIENT),
    ("425 Too Early", TRANSIENT), ("428 Precondition Required", PERMANENT), ("429 Too Many Requests", TRANSIENT),
    ("500 Internal Server Error", TRANSIENT), ("501 Not Implemented", PERMANENT), ("502 Bad Gateway", TRANSIENT),
    ("503 Service Unavailable", TRANSIENT), ("504 Gateway Timeout", TRANSIENT), ("507 Insufficient Storage", TRANSIENT),
]  # fmt: skip


@pytest.mark.parametrize(("status", "weight"), STATUSES)
@pytest.mark.parametrize("whole", [True, False], ids=["transaction", "resource"])
def test_what_each_status_means(status: str, weight: Weight | None, whole: bool) -> None:
    elsewhere = "Location: http://127.0.0.1:1/elsewhere\r\n"
    body = bundle("200 OK") if weight is None and whole else b"{}"
    if status.startswith(("204", "304")):
        wire = f"HTTP/1.1 {status}\r\n{elsewhere}\r\n".encode()
    else:
        wire = answer(status, body, KIND, elsewhere)
    outcome, asked = deliver(TRANSACTION if whole else PATIENT, wire)
    if whole and status.startswith("204"):  # nothing says what became of the entries
        weight, status = AMBIGUOUS, "answer_incomplete"
    assert outcome.weight is weight
    assert outcome.code in (f"HTTP {status[:3]}", status)
    assert asked == (["POST /fhir"] if whole else ["PUT /fhir/Patient/p1"])  # once, and never elsewhere


@pytest.mark.parametrize(("status", "weight"), [pair for pair in STATUSES if pair[0][0] != "3"])
def test_what_each_status_of_an_entry_means(status: str, weight: Weight | None) -> None:
    outcome, _ = deliver(TRANSACTION, answer("200 OK", bundle(status), KIND))
    assert (outcome.weight, outcome.taken) == (weight, weight is None)


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [("429 Too Many Requests", "Retry-After: 7", 7), ("503 Service Unavailable", "Retry-After: 120", 120),
     ("409 Conflict", "Retry-After: 1", 1), ("429 Too Many Requests", "Retry-After: soon", 0),
     ("422 Unprocessable Content", "Retry-After: 7", 0)],
)  # fmt: skip
def test_a_server_that_asks_for_time_gets_it(status: str, header: str, seconds: int) -> None:
    outcome, _ = deliver(TRANSACTION, answer(status, issue("throttled"), KIND, header + "\r\n"))
    assert outcome.retry_after == seconds * 1_000_000


def test_conditions_go_as_they_are_and_several_matches_are_a_fault() -> None:
    conditional = {"resource": {"resourceType": "Patient"}, "request": {
        "method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:x|1"}}  # fmt: skip
    sent = {**TRANSACTION, "entry": [conditional]}
    assert deliver(sent, answer("200 OK", bundle("200 OK"), KIND))[0].taken
    outcome, _ = deliver(sent, answer("412 Precondition Failed", issue("multiple-matches"), KIND))
    assert (outcome.code, outcome.weight) == ("HTTP 412 multiple-matches", PERMANENT)


# messages


def response(code: str) -> bytes:
    head = {"resourceType": "MessageHeader", "response": {"identifier": "h1", "code": code}}
    return json.dumps({"resourceType": "Bundle", "type": "message", "entry": [{"resource": head}]}).encode()


@pytest.mark.parametrize(("code", "weight"), [("ok", None), ("transient-error", TRANSIENT), ("fatal-error", PERMANENT)])
def test_a_message_is_taken_as_its_answers_header_says(code: str, weight: Weight | None) -> None:
    sent = {"resourceType": "Bundle", "type": "message", "entry": []}
    outcome, asked = deliver(sent, answer("200 OK", response(code), KIND))
    assert (outcome.weight, asked) == (weight, ["POST /fhir/$process-message"])
    assert outcome.code == ("HTTP 200" if weight is None else f"HTTP 200 {code}")


# late reports

EARLY, LATE = "2026-01-05T09:00:00-06:00", "2026-01-05T15:00:01Z"  # one second apart


def report(status: str, issued: str = EARLY, key: str = "r1", kind: str = "DiagnosticReport") -> dict[str, Any]:
    return {"resourceType": kind, "id": key, "status": status, "issued": issued}


def of(*resources: dict[str, Any]) -> dict[str, Any]:
    places = [f"{one['resourceType']}/{one['id']}" for one in resources]
    entries = [{"resource": r, "request": {"method": "PUT", "url": p}} for r, p in zip(resources, places, strict=True)]
    return {**TRANSACTION, "entry": entries}


def has(resource: dict[str, Any]) -> bytes:
    return answer("200 OK", json.dumps(resource).encode(), KIND)


OK_ONE = answer("200 OK", bundle("200 OK"), KIND)


@pytest.mark.parametrize("status", ["registered", "partial", "preliminary"])
@pytest.mark.parametrize("kept", ["final", "amended", "corrected", "appended"])
def test_an_older_preliminary_report_is_not_written_over_a_final_one(status: str, kept: str) -> None:
    outcome, asked = deliver(of(report(status)), has(report(kept, LATE)))
    assert (outcome.code, outcome.taken, outcome.level) == ("superseded", True, "application")
    assert asked == ["GET /fhir/DiagnosticReport/r1"]


WRITTEN = [
    (report("preliminary"), answer("404 Not Found", issue("not-found"), KIND)),
    (report("preliminary"), answer("403 Forbidden", issue("forbidden"), KIND)),
    (report("preliminary"), has(report("preliminary", LATE))),
    (report("preliminary"), has(report("cancelled", LATE))),
    (report("preliminary"), has(report("entered-in-error", LATE))),
    (report("preliminary", LATE), has(report("final", EARLY))),
    (report("preliminary"), has(report("final", EARLY))),
    (report("preliminary"), has(report("final", "2026-01-06"))),
    (report("preliminary", ""), has(report("final", LATE))),
]


@pytest.mark.parametrize(("sent", "kept"), WRITTEN)
def test_what_is_not_provably_late_is_written(sent: dict[str, Any], kept: bytes) -> None:
    outcome, asked = deliver(of(sent), kept, OK_ONE)
    assert (outcome.code, asked) == ("HTTP 200", ["GET /fhir/DiagnosticReport/r1", "POST /fhir"])


def test_only_where_the_message_is_late_as_a_whole() -> None:
    two = of(report("preliminary"), report("preliminary", key="r2"))
    both = answer("200 OK", bundle("200 OK", "200 OK"), KIND)
    outcome, asked = deliver(two, has(report("final", LATE)), answer("404 Not Found", b"{}", KIND), both)
    assert (outcome.code, len(asked)) == ("HTTP 200", 3)
    outcome, _ = deliver(two, has(report("final", LATE)), has(report("final", LATE, "r2")))
    assert outcome.code == "superseded"
    mixed = of(report("preliminary"), report("final", key="r2"))
    assert deliver(mixed, both) == (
        Outcome("HTTP 200", level="application", answer=bundle("200 OK", "200 OK")),
        ["POST /fhir"],
    )


def test_a_single_result_and_a_result_without_a_report_may_be_late_too() -> None:
    result = report("preliminary", kind="Observation")
    kept = has(report("final", LATE, kind="Observation"))
    for payload in (result, of(result), of(PATIENT, result)):
        assert deliver(payload, kept)[0].code == "superseded"
    assert deliver(of(report("preliminary"), result), has(report("final", LATE)))[0].code == "superseded"


def test_a_channel_may_want_everything_written() -> None:
    outcome, asked = deliver(of(report("preliminary")), OK_ONE, late="write")
    assert (outcome.code, asked) == ("HTTP 200", ["POST /fhir"])


def test_nothing_is_asked_for_what_is_final_or_has_no_address() -> None:
    posted = {**TRANSACTION, "entry": [{"resource": report("preliminary"), "request": {"method": "POST", "url": "x"}}]}
    for payload in (of(report("final")), posted):
        assert deliver(payload, OK_ONE)[1] == ["POST /fhir"]
