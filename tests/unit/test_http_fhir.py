"""The fhir destination: where a resource goes, what an answer means, and how a delivery in doubt is asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from contract.connectors.harness_fhir import bundle, issue
from contract.connectors.http_peer import Peer, answer

from engine.connectors import fhir
from engine.errors import Weight
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", "application/fhir+json")
KIND = "application/fhir+json"


def talk(
    call: str, payload: Any, wire: bytes = b"", base: str = "/fhir", **options: Any
) -> tuple[Outcome | None, Peer]:
    """Call `deliver` or `ask` once against a server that answers `wire`."""
    peer = Peer({"it": wire} if wire else {})
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()

    async def run() -> Outcome | None:
        await peer.up()
        spec = DestinationSpec("d", f"fhir+http://127.0.0.1:{peer.port}{base}", options=options)
        destination = fhir.destination("c", spec)
        peer.show("it")
        outcome = await getattr(destination, call)(raw, SENDING)
        await destination.close()
        await peer.down()
        return outcome

    return asyncio.run(run()), peer


def transaction(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def put(resource: dict[str, Any]) -> dict[str, Any]:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        (transaction(), "POST /fhir "),
        (b'{"resourceType":"Bundle","type":"batch","entry":[]}', "POST /fhir "),
        ({"resourceType": "Bundle", "type": "message"}, "POST /fhir/$process-message "),
        ({"resourceType": "Bundle", "type": "document", "id": "d1"}, "PUT /fhir/Bundle/d1 "),
        ({"resourceType": "Observation"}, "POST /fhir/Observation "),
        ({"resourceType": "Patient", "id": "p-1.a"}, "PUT /fhir/Patient/p-1.a "),
    ],
)
def test_each_resource_goes_to_its_place(resource: Any, line: str) -> None:
    kind = "batch-response" if b"batch" in str(resource).encode() else "transaction-response"
    outcome, peer = talk(
        "deliver", resource, answer("200 OK", b'{"resourceType":"Bundle","type":"%s"}' % kind.encode())
    )
    assert outcome is not None and outcome.taken
    head = peer.heads[0].decode()
    assert head.startswith(line)
    assert f"Content-Type: {KIND}\r\n" in head
    assert f"Accept: {KIND}\r\n" in head


def test_a_base_of_its_own_host_and_one_with_a_slash() -> None:
    assert talk("deliver", transaction(), base="/")[1].heads[0].startswith(b"POST / ")
    assert talk("deliver", {"resourceType": "Patient"}, base="/a/")[1].heads[0].startswith(b"POST /a/Patient ")


@pytest.mark.parametrize(
    "payload",
    [
        b"MSH|^~\\&|",
        b"[]",
        b"{}",
        {"resourceType": "../x"},
        {"resourceType": "Patient", "id": "a/../../b"},
        {"resourceType": "Patient", "id": ""},
        {"resourceType": "Patient", "id": ".."},
    ],
)
def test_what_is_no_fhir_never_leaves(payload: Any) -> None:
    outcome, peer = talk("deliver", payload)
    assert outcome is not None and (outcome.code, outcome.weight) == ("not_fhir", Weight.PERMANENT)
    assert peer.heads == []


@pytest.mark.parametrize("wire", [answer("200 OK", b""), answer("201 Created", b"{}"), answer("204 No Content", b"")])
def test_a_single_resource_is_kept_when_the_status_says_so_and_no_more_is_known(wire: bytes) -> None:
    outcome, _ = talk("deliver", {"resourceType": "Patient", "id": "p1"}, wire)
    assert outcome is not None and (outcome.taken, outcome.level) == (True, "commit")


NO_ANSWERS = [
    b"",
    b"{}",
    b" {} ",
    b'{"a":1}',
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"information"}]}',
    b'{"resourceType":"Bundle"}',
    b'{"resourceType":"Bundle","type":"transaction"}',
    bundle("200").replace(b"transaction-response", b"batch-response"),
]


@pytest.mark.parametrize(
    "wire",
    [answer("201 Created", b""), answer("204 No Content", b""), *(answer("200 OK", body) for body in NO_ANSWERS)],
)
@pytest.mark.parametrize("plain", [True, False], ids=["as we write it", "as others may"])
def test_a_transaction_without_the_servers_answer_to_its_entries_is_in_doubt(wire: bytes, plain: bool) -> None:
    sent = transaction({"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}})
    raw = json.dumps(sent, separators=(",", ":") if plain else None).encode()
    outcome, _ = talk("deliver", raw, wire)
    assert outcome is not None and (outcome.weight, outcome.code) == (Weight.AMBIGUOUS, "answer_incomplete")


def test_what_a_server_promises_or_a_person_vouches_for_is_kept_and_no_more() -> None:
    promised, _ = talk("deliver", transaction(), answer("202 Accepted", b""))
    vouched, _ = talk("deliver", transaction(), answer("200 OK", b""), statuses="200=taken")
    for outcome in (promised, vouched):
        assert outcome is not None and (outcome.taken, outcome.level) == (True, "commit")


CASES = [
    (answer("200 OK", bundle("200 OK", "201 Created", "204")), None, "HTTP 200"),
    (answer("200 OK", bundle("503", "422 Unprocessable", "201")), Weight.PERMANENT, "HTTP 422"),
    (answer("200 OK", bundle("201", "409")), Weight.TRANSIENT, "HTTP 409"),
    (answer("200 OK", bundle("2", "201")), Weight.AMBIGUOUS, "answer_unreadable"),
    (answer("422 No", issue("business-rule")), Weight.PERMANENT, "HTTP 422 business-rule"),
    (answer("400 No", issue("DOE^JANE")), Weight.PERMANENT, "HTTP 400 unknown-issue"),
    (answer("503 No", issue("transient")), Weight.TRANSIENT, "HTTP 503 transient"),
    (answer("200 OK", issue("throttled")), Weight.TRANSIENT, "HTTP 200 throttled"),
    (answer("200 OK", issue("invariant")), Weight.PERMANENT, "HTTP 200 invariant"),
    (answer("400 No", b"not json"), Weight.PERMANENT, "HTTP 400"),
]


@pytest.mark.parametrize(("wire", "weight", "code"), CASES)
def test_every_entry_and_every_issue_is_judged(wire: bytes, weight: Weight | None, code: str) -> None:
    entry = {"request": {"method": "POST", "url": "Patient"}}
    outcome, _ = talk("deliver", transaction(entry, entry, entry), wire)
    assert outcome is not None and (outcome.weight, outcome.code) == (weight, code)
    assert "patient" not in outcome.detail


def test_the_code_of_an_entrys_outcome_is_told() -> None:
    response = {"status": "404", "outcome": json.loads(issue("not-found"))}
    body = {"resourceType": "Bundle", "type": "batch-response", "entry": [{"response": response}]}
    outcome, _ = talk("deliver", transaction(), answer("200 OK", json.dumps(body).encode()))
    assert outcome is not None and (outcome.code, outcome.weight) == ("HTTP 404 not-found", Weight.PERMANENT)


SENT = {"resourceType": "Observation", "id": "o1", "status": "final", "subject": {"reference": "urn:uuid:1"}}
KEPT = {**SENT, "meta": {"versionId": "2"}, "text": {"div": "x"}, "subject": {"reference": "Patient/9"}}


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (answer("200 OK", json.dumps(KEPT).encode(), KIND), "present"),
        (answer("200 OK", json.dumps({**KEPT, "status": "amended"}).encode(), KIND), "absent"),
        (answer("200 OK", json.dumps({**KEPT, "note": []}).encode(), KIND), "absent"),
        (answer("404 Not Found", issue("not-found"), KIND), "absent"),
        (answer("404 Not Found", b"<html>proxy</html>", "text/html"), None),
        (answer("410 Gone"), None),
        (answer("401 Who"), None),
        (answer("200 OK", b"[]"), None),
    ],
)
def test_a_delivery_in_doubt_is_asked_for(wire: bytes, expected: str | None) -> None:
    for payload in (transaction(put(SENT)), SENT):
        outcome, peer = talk("ask", payload, wire)
        assert (outcome.code if outcome else None) == expected
        assert peer.heads[0].startswith(b"GET /fhir/Observation/o1 HTTP/1.1\r\n")


PATIENT = {"resourceType": "Patient", "id": "p1"}
RESULT = {"resourceType": "Observation", "id": "o2", "status": "final"}


def served(resource: dict[str, Any]) -> bytes:
    return answer("200 OK", json.dumps(resource).encode(), KIND)


ABSENT = answer("404 Not Found", issue("not-found"), KIND)


def ask_in_turn(payload: Any, *wires: bytes) -> tuple[Outcome | None, list[bytes]]:
    """Ask a server that answers each request with the next of `wires`; gives what was asked for."""
    shows = {str(number): wire for number, wire in enumerate(wires)}

    async def run() -> tuple[Outcome | None, list[bytes]]:
        peer = Peer(shows)
        await peer.up()
        peer.show(*shows)
        destination = fhir.destination("c", DestinationSpec("d", f"fhir+http://127.0.0.1:{peer.port}/fhir"))
        outcome = await destination.ask(json.dumps(payload).encode(), SENDING)
        await destination.close()
        await peer.down()
        return outcome, [head.split(b" ")[1].removeprefix(b"/fhir/") for head in peer.heads]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (served(RESULT), "present"),
        (ABSENT, "absent"),
        (served({**RESULT, "status": "preliminary"}), "absent"),
        (answer("503 Busy"), None),
        (answer("410 Gone"), None),
    ],
)
def test_a_known_patient_does_not_prove_that_a_new_result_arrived(second: bytes, expected: str | None) -> None:
    outcome, asked = ask_in_turn(transaction(put(PATIENT), put(RESULT)), served(PATIENT), second)
    assert (outcome.code if outcome else None, asked) == (expected, [b"Patient/p1", b"Observation/o2"])
    assert outcome is None or outcome.weight is (Weight.TRANSIENT if expected == "absent" else None)


@pytest.mark.parametrize(
    "other", [{"method": "POST", "url": "Observation"}, {"method": "PUT", "url": "Observation?a=1"}]
)
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (served(PATIENT), served(RESULT), None),
        (served({**PATIENT, "active": True}), served(RESULT), None),
        (served({**PATIENT, "active": True}), ABSENT, "absent"),
    ],
)
def test_what_has_no_address_proves_nothing_and_may_not_come_twice(
    other: dict[str, str], first: bytes, second: bytes, expected: str | None
) -> None:
    payload = transaction(put(PATIENT), {"resource": SENT, "request": other}, put(RESULT))
    outcome, _ = ask_in_turn(payload, first, second)
    assert (outcome.code if outcome else None) == expected


@pytest.mark.parametrize(
    "payload",
    [
        transaction(),
        transaction(*(put({"resourceType": "Observation", "id": f"o{number}"}) for number in range(51))),
        {**transaction(put(SENT)), "type": "batch"},
        {"resourceType": "Observation"},
        b"MSH|",
        transaction({"resource": SENT, "request": {"method": "PUT", "url": "Observation?identifier=1"}}),
    ],
)
def test_where_asking_proves_nothing_nobody_is_asked(payload: Any) -> None:
    outcome, peer = talk("ask", payload)
    assert (outcome, peer.heads) == (None, [])


def test_numbers_and_truths_are_not_mixed_up() -> None:
    assert not fhir.same({"a": True}, {"a": 1})
    assert fhir.same({"a": [1, {"b": "c"}]}, {"a": [1, {"b": "c"}], "meta": {}})
    assert not fhir.same({"a": [1]}, {"a": [1, 1]})


TWO_PUTS = (
    b'{"resourceType":"Bundle","type":"transaction","entry":['
    + b",".join(
        b'{"resource":{"resourceType":"Patient","id":"p%d"},"request":{"method":"PUT","url":"Patient/p%d"}}' % (n, n)
        for n in range(2)
    )
    + b"]}"
)


@pytest.mark.parametrize(
    "body",
    [
        '{"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "200"}}]}',
        '{"resourceType": "Bundle", "type": "transaction-response", "entry": "x"}',
        '{"resourceType": "Bundle", "type": "transaction-response"}',
        '{"resourceType": "Bundle", "type": "searchset", "entry": [{}, {}]}',
        '{"resourceType": "Patient", "id": "p0"}',
    ],
)
def test_an_answer_that_does_not_name_every_entry_leaves_the_delivery_in_doubt(body: str) -> None:
    outcome, _ = talk("deliver", TWO_PUTS, answer("200 OK", body.encode()))
    assert outcome is not None and (outcome.weight, outcome.code) == (Weight.AMBIGUOUS, "answer_incomplete")


def test_every_entry_named_is_processed() -> None:
    whole, _ = talk("deliver", TWO_PUTS, answer("200 OK", bundle("201 Created", "200")))
    assert whole is not None and (whole.taken, whole.level) == (True, "application")
