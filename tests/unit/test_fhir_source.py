"""The fhir source over a real socket: what is taken, as which bytes, and how each request is answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from contract.connectors.http_peer import read_message

from engine.connectors import fhir
from engine.connectors.fhir_capability import capability
from engine.errors import Configuration, Reply
from engine.formats.fhir import Fhir, read
from engine.formats.fhir.shape import shape
from engine.model import Answer, Arrival, Verdict, show_id
from engine.wiring import SourceSpec
from tests.unit.docs_help import DOCS, rows

MESSAGE = 77
NAME = show_id(MESSAGE)
TAKEN = Verdict(Reply.ACCEPT, message=MESSAGE)
KIND = "application/fhir+json"
GLUCOSE = b'{"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 1.10}}'
NAMED = GLUCOSE.replace(b'"status"', b'"id": "o1", "status"')
BUNDLE = (
    b'{"resourceType":"Bundle","type":"transaction","entry":[{"resource":%b,"request":{"method":"PUT","url":'
    b'"Observation/o1"}}]}' % NAMED
)
HEADER = b'{"resourceType":"MessageHeader","id":"h1","eventUri":"urn:e","source":{"endpoint":"urn:lab"}}'
NOTE = b'{"resourceType":"Bundle","type":"message","entry":[{"resource":%b}]}' % HEADER


class Said:
    """One answer: status, headers, body as JSON, and what the path was given."""

    def __init__(self, head: bytes, body: bytes, taken: list[bytes]) -> None:
        first, *lines = head.decode().strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.body = body
        self.taken = taken

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == KIND
        return dict(json.loads(self.body))

    @property
    def issue(self) -> tuple[str, str]:
        assert shape(self.json, "R4") == []
        (issue,) = self.json["issue"]
        return issue["code"], issue["details"]["text"].partition(":")[0]


def ask(
    method: str, path: str, body: bytes = b"", extra: str = "", verdict: Verdict = TAKEN, kind: str = KIND, **spec: Any
) -> Said:
    """One request to a source whose path gives this verdict, in the words of its format."""
    taken: list[bytes] = []

    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        taken.append(raw)
        return Answer(verdict, Fhir().answer(None, raw, verdict))

    async def run() -> Said:
        source = fhir.source("c", SourceSpec("fhir+http://127.0.0.1:0/fhir", **spec))
        await source.start(accept)
        at = urlsplit(source.address)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        typed = f"Content-Type: {kind}\r\n" if kind else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: ehr.example\r\n{typed}Content-Length: {len(body)}\r\n{extra}\r\n"
        writer.write(head.encode() + body)
        answered = await read_message(reader)
        writer.close()
        await source.stop()
        return Said(*answered, taken)

    return asyncio.run(run())


def test_a_transaction_is_taken_as_it_came_and_answered_entry_by_entry() -> None:
    said = ask("POST", "/fhir", BUNDLE)
    assert (said.status, said.taken) == (200, [BUNDLE])
    (entry,) = said.json["entry"]
    assert entry["response"] == {"status": "200 OK", "location": f"Observation/o1/_history/{NAME}"}
    assert ask("POST", "/fhir/", BUNDLE.replace(b"transaction", b"batch")).json["type"] == "batch-response"


def test_a_resource_is_created_and_its_place_names_the_message() -> None:
    said = ask("POST", "/fhir/Observation", GLUCOSE)
    assert (said.status, said.taken) == (201, [GLUCOSE])
    assert said.headers["Location"] == f"http://ehr.example/fhir/Observation/{NAME}"
    assert said.json["issue"][0]["details"]["text"] == f"accepted as message {NAME}"


def test_a_resource_is_updated_under_its_own_id() -> None:
    said = ask("PUT", "/fhir/Observation/o1", NAMED)
    assert (said.status, said.taken) == (200, [NAMED])
    assert said.headers["Location"] == f"http://ehr.example/fhir/Observation/o1/_history/{NAME}"


def test_a_message_is_answered_by_a_message() -> None:
    said = ask("POST", "/fhir/$process-message", NOTE)
    assert (said.status, said.taken, said.json["type"]) == (200, [NOTE], "message")


@pytest.mark.parametrize(
    ("method", "path", "body", "extra", "request_"),
    [
        ("POST", "/fhir/Observation", GLUCOSE, "If-None-Exist: identifier=urn:x|1\r\n",
         {"method": "POST", "url": "Observation", "ifNoneExist": "identifier=urn:x|1"}),
        ("POST", "/fhir/Observation", NAMED, "", {"method": "POST", "url": "Observation"}),
        ("PUT", "/fhir/Observation?identifier=urn:x|1&_format=json", GLUCOSE, "",
         {"method": "PUT", "url": "Observation?identifier=urn:x|1"}),
        ("PUT", "/fhir/Observation/o1", NAMED, 'If-Match: W/"3"\r\n',
         {"method": "PUT", "url": "Observation/o1", "ifMatch": 'W/"3"'}),
    ],
)  # fmt: skip
def test_what_only_the_request_says_goes_along_and_the_resource_keeps_every_byte(
    method: str, path: str, body: bytes, extra: str, request_: dict[str, str]
) -> None:
    said = ask(method, path, body, extra)
    (raw,) = said.taken
    assert body in raw
    message = read(raw)
    assert message["type"] == "transaction"
    assert message["entry"][0]["request"] == request_
    assert said.status == (201 if method == "POST" else 200)
    assert said.json["resourceType"] == "OperationOutcome"
    assert Fhir().identify(raw).type == "Bundle/transaction/Observation"


REFUSED = [
    ("GET", "/fhir/Observation/o1", b"", {}, 405, ("not-supported", "method_not_allowed")),
    ("DELETE", "/fhir/Observation/o1", b"", {}, 405, ("not-supported", "method_not_allowed")),
    ("PATCH", "/fhir/Observation/o1", b"[]", {}, 405, ("not-supported", "method_not_allowed")),
    ("PUT", "/fhir/Observation", GLUCOSE, {}, 405, ("not-supported", "method_not_allowed")),
    ("PUT", "/fhir", BUNDLE, {}, 405, ("not-supported", "method_not_allowed")),
    ("GET", "/fhir", b"", {}, 405, ("not-supported", "method_not_allowed")),
    ("POST", "/fhir/metadata", b"", {}, 405, ("not-supported", "method_not_allowed")),
    ("POST", "/fhir/Observation/_search", b"", {}, 404, ("not-found", "not_here")),
    ("POST", "/fhir/$everything", b"", {}, 404, ("not-found", "not_here")),
    ("POST", "/other", BUNDLE, {}, 404, ("not-found", "not_here")),
    ("POST", "/fhirs", BUNDLE, {}, 404, ("not-found", "not_here")),
    ("PUT", "/fhir/Observation/o_1", NAMED, {}, 404, ("not-found", "not_here")),
    ("POST", "/fhir", BUNDLE, {"kind": "application/fhir+xml"}, 415, ("not-supported", "not_fhir_json")),
    ("POST", "/fhir", BUNDLE, {"kind": KIND + "; charset=latin1"}, 415, ("not-supported", "not_fhir_json")),
    ("POST", "/fhir", BUNDLE, {"kind": KIND + "; fhirVersion=5.0"}, 415, ("not-supported", "not_fhir_json")),
    ("POST", "/fhir", BUNDLE, {"extra": "Content-Encoding: gzip\r\n"}, 415, ("not-supported", "not_fhir_json")),
    ("POST", "/fhir?_format=xml", BUNDLE, {}, 406, ("not-supported", "only_json")),
    ("POST", "/fhir", BUNDLE, {"extra": "Accept: application/fhir+xml\r\n"}, 406, ("not-supported", "only_json")),
    ("POST", "/fhir", GLUCOSE, {}, 400, ("structure", "not_a_bundle")),
    ("POST", "/fhir", NOTE, {}, 400, ("structure", "not_a_bundle")),
    ("POST", "/fhir/$process-message", BUNDLE, {}, 400, ("structure", "not_a_message")),
    ("POST", "/fhir/Bundle", BUNDLE, {}, 400, ("structure", "misplaced_bundle")),
    ("POST", "/fhir/Patient", GLUCOSE, {}, 400, ("structure", "other_type")),
    ("PUT", "/fhir/Observation/o2", NAMED, {}, 400, ("structure", "other_id")),
    ("PUT", "/fhir/Observation/o1", GLUCOSE, {}, 400, ("structure", "other_id")),
    ("POST", "/fhir/Observation", GLUCOSE, {"extra": "If-None-Exist: n=\xe9\r\n"}, 400, ("structure", "bad_condition")),
    ("POST", "/fhir", BUNDLE, {"max_size": 64}, 413, ("too-long", "too_large")),
    ("POST", "/fhir", BUNDLE, {"extra": "Origin: http://evil.example\r\n"}, 403, ("forbidden", "cross_site")),
]


@pytest.mark.parametrize(("method", "path", "body", "more", "status", "issue"), REFUSED)
def test_what_the_listener_refuses_is_an_operation_outcome_and_reaches_no_path(
    method: str, path: str, body: bytes, more: dict[str, Any], status: int, issue: tuple[str, str]
) -> None:
    said = ask(method, path, body, **more)
    assert (said.status, said.issue, said.taken) == (status, issue, [])
    assert ("Allow" in said.headers) is (status == 405)


def test_every_refusal_of_the_listener_is_documented() -> None:
    listed = {row[0].strip("`"): int(row[1]) for row in rows(DOCS / "fhir-messages.md", "| code | status | meaning |")}
    seen = {said[1]: status for *_, status, said in REFUSED if said[1] != "too_large"} | {"unauthorized": 401}
    assert listed == seen


def test_a_refused_method_names_those_that_there_are() -> None:
    assert ask("GET", "/fhir/Observation/o1").headers["Allow"] == "PUT"
    assert ask("DELETE", "/fhir/Observation").headers["Allow"] == "POST, PUT"


@pytest.mark.parametrize("kind", ["application/json", "application/fhir+json; charset=UTF-8; fhirVersion=4.0", ""])
@pytest.mark.parametrize(
    "extra", ["", "Accept: */*\r\n", "Accept: application/fhir+xml, application/fhir+json;q=0.5\r\n"]
)
def test_json_by_every_name_is_taken(kind: str, extra: str) -> None:
    assert ask("POST", "/fhir", BUNDLE, extra, kind=kind).status == 200


VERDICTS = [
    (Verdict(Reply.ERROR, "store_unavailable", "no", transient=True), 503, "no-store"),
    (Verdict(Reply.ERROR, "channel_not_taking", "no", transient=True), 503, "transient"),
    (Verdict(Reply.ERROR, "not_json", "no", "line 1 column 2"), 400, "structure"),
    (Verdict(Reply.REJECT, "not_accepted", "no"), 422, "not-supported"),
    (Verdict(Reply.REJECT, "wrong_environment", "no"), 403, "forbidden"),
    (Verdict(Reply.REJECT, "too_large", "no"), 413, "too-long"),
    (Verdict(Reply.ERROR, "conflict", "no", "MSH-10"), 409, "conflict"),
]


@pytest.mark.parametrize(("verdict", "status", "code"), VERDICTS, ids=lambda value: getattr(value, "code", ""))
@pytest.mark.parametrize(
    ("method", "path", "body"), [("POST", "/fhir", BUNDLE), ("PUT", "/fhir/Observation/o1", NAMED)]
)
def test_what_the_path_refuses_is_one_too(
    method: str, path: str, body: bytes, verdict: Verdict, status: int, code: str
) -> None:
    said = ask(method, path, body, verdict=verdict)
    assert (said.status, said.issue) == (status, (code, verdict.code))
    assert ("Retry-After" in said.headers) is (status == 503)
    assert "Location" not in said.headers


def test_what_is_no_json_goes_to_the_path_which_keeps_it() -> None:
    for path in ("/fhir", "/fhir/Observation"):
        assert ask("POST", path, b"{", verdict=Verdict(Reply.ERROR, "not_json")).taken == [b"{"]


def test_a_sender_gets_as_much_back_as_it_prefers() -> None:
    minimal = ask("POST", "/fhir/Observation", GLUCOSE, "Prefer: return=minimal\r\n")
    assert (minimal.status, minimal.body, "Location" in minimal.headers) == (201, b"", True)
    whole = ask("POST", "/fhir/Observation", GLUCOSE, "Prefer: respond-sync; return=representation\r\n")
    assert whole.body == GLUCOSE
    told = ask("POST", "/fhir", BUNDLE, "Prefer: return=OperationOutcome\r\n").json
    assert told["entry"][0]["response"]["outcome"]["issue"][0]["details"]["text"] == f"accepted as message {NAME}"
    assert shape(told, "R4") == []
    assert "outcome" not in ask("POST", "/fhir", BUNDLE, "Prefer: return=minimal\r\n").json["entry"][0]["response"]


@pytest.mark.parametrize("version", ["R4", "R5", "STU3"])
def test_its_statement_says_what_it_takes(version: Any) -> None:
    said = ask("GET", "/fhir/metadata", accept=("Observation", "Bundle/transaction"), fhir_version=version, kind="")
    assert (said.status, said.taken) == (200, [])
    assert shape(said.json, version) == []
    assert [one["type"] for one in said.json["rest"][0]["resource"]] == ["Observation"]
    assert "resource" not in json.loads(capability(version, ()))["rest"][0]


def test_a_stranger_is_told_nothing_but_that(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("one\n")
    options = {"token": f"file:{tmp_path}/tokens"}
    said = ask("GET", "/fhir/metadata", options=options)
    assert (said.status, said.issue[0], said.headers["WWW-Authenticate"]) == (401, "login", "Bearer")
    assert ask("POST", "/fhir", BUNDLE, "Authorization: Bearer one\r\n", options=options).status == 200


def test_an_odd_host_is_not_repeated() -> None:
    said = ask("POST", "/fhir/Observation", GLUCOSE, "Host: <script>\r\n")
    assert said.headers["Location"] == f"/fhir/Observation/{NAME}"


def test_only_its_own_schemes() -> None:
    with pytest.raises(Configuration):
        fhir.source("c", SourceSpec("http://127.0.0.1:0/fhir"))


def test_a_large_message_is_read_beside_the_loop() -> None:
    padded = BUNDLE.replace(b'"x"', b'"%b"' % (b"x" * 300_000))
    assert ask("POST", "/fhir", padded).taken == [padded]
