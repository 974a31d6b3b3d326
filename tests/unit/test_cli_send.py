"""`interlock send`: every answer is shown, and only a positive answer to the very message counts as taken."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.cli_help import Cli

HEADER = "MSH|^~\\&|LAB|INTERLOCK-TEST|EHR|INTERLOCK-TEST|20260105120000||ORU^R01|{id}|T|2.5.1"
Answer = Callable[[bytes], bytes | None]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def message(control_id: str, end: str = "\r") -> str:
    return end.join((HEADER.format(id=control_id), "PID|1||P1^^^INTERLOCK-TEST^MR", ""))


def control_id(raw: bytes) -> str:
    return raw.split(b"|")[9].decode()


def acknowledgement(raw: bytes, code: str = "AA", words: str = "") -> bytes:
    head = f"MSH|^~\\&|EHR||LAB||20260105||ACK|A{control_id(raw)}|T|2.5.1"
    return f"{head}\rMSA|{code}|{control_id(raw)}|{words}\r".encode()


@contextmanager
def mllp(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A receiver in a thread: for each message the answer of a function, None closes instead."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                _one_connection(connection, answer, taken)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"mllp://127.0.0.1:{listener.getsockname()[1]}", taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _one_connection(connection: socket.socket, answer: Answer, taken: list[bytes]) -> None:
    held = b""
    while data := connection.recv(65536):
        held += data
        while b"\x1c\r" in held:
            frame, _, held = held.partition(b"\x1c\r")
            taken.append(frame[1:])
            said = answer(frame[1:])
            if said is None:
                return
            connection.sendall(b"\x0b" + said + b"\x1c\r")


def test_each_message_goes_and_each_answer_is_shown(cli: Cli, tmp_path: Path) -> None:
    for name in ("A1", "A2"):
        (tmp_path / f"{name}.hl7").write_text(message(name, "\n"))
    with mllp(acknowledgement) as (target, taken):
        ran = cli("send", target, tmp_path / "A1.hl7", tmp_path / "A2.hl7")
    assert ran.status == 0
    assert [control_id(raw) for raw in taken] == ["A1", "A2"]
    assert taken[0] == message("A1").encode()
    assert "MSA|AA|A1" in ran.out
    assert ran.out.count("ok ") == 2


def test_one_negative_answer_is_status_1_and_the_rest_still_goes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "two.hl7").write_text(message("BAD") + message("GOOD"))

    def answer(raw: bytes) -> bytes:
        bad = control_id(raw) == "BAD"
        return acknowledgement(raw, "AE" if bad else "AA", "no such patient" if bad else "")

    with mllp(answer) as (target, taken):
        ran = cli("send", target, tmp_path / "two.hl7", "--json")
    assert ran.status == 1
    assert len(taken) == 2
    assert (ran.json["sent"], ran.json["positive"], ran.json["negative"]) == (2, 1, 1)
    bad, good = ran.json["answers"]
    assert (bad["positive"], bad["code"], bad["text"], bad["control_id"]) == (False, "AE", "no such patient", "BAD")
    assert bad["file"].endswith("two.hl7#1")
    assert good["positive"] is True
    assert good["answer"].startswith("MSH|")


def test_a_batch_is_taken_apart(cli: Cli, tmp_path: Path) -> None:
    batch = "FHS|^~\\&\rBHS|^~\\&\r" + message("B1") + message("B2") + "BTS|2\rFTS|1\r"
    (tmp_path / "batch.hl7").write_text(batch)
    with mllp(acknowledgement) as (target, taken):
        assert cli("send", target, tmp_path / "batch.hl7").status == 0
    assert [control_id(raw) for raw in taken] == ["B1", "B2"]


def test_a_batch_that_lost_something_is_not_sent_at_all(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "batch.hl7").write_text("BHS|^~\\&\r" + message("B1") + "BTS|2\r")
    with mllp(acknowledgement) as (target, taken):
        ran = cli("send", target, tmp_path / "batch.hl7")
    assert ran.status == 2
    assert "BTS-1" in ran.err
    assert taken == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda raw: None, "none"),
        (lambda raw: acknowledgement(raw.replace(b"|X1|", b"|X9|")), "wrong_control_id"),
        (lambda raw: b"HTTP/1.1 400 Bad Request", "not_an_answer"),
    ],
)
def test_what_is_no_answer_to_this_message_is_not_positive(cli: Cli, tmp_path: Path, answer: Answer, code: str) -> None:
    (tmp_path / "one.hl7").write_text(message("X1"))
    with mllp(answer) as (target, _):
        ran = cli("send", target, tmp_path / "one.hl7", "--json")
    assert ran.status == 1
    assert ran.json["answers"][0]["code"] == code


def test_a_late_answer_never_meets_the_next_message(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "two.hl7").write_text(message("L1") + message("L2"))
    release = threading.Event()

    def answer(raw: bytes) -> bytes:
        if control_id(raw) == "L1":
            release.wait(30)
        return acknowledgement(raw)

    with mllp(answer) as (target, _):
        ran = cli("send", target, tmp_path / "two.hl7", "--timeout", "0.2", "--json")
        release.set()
    assert [told["code"] for told in ran.json["answers"]] == ["none", "none"]


def test_nothing_listening_says_what_to_check(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "one.hl7").write_text(message("N1"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ran = cli("send", f"mllp://127.0.0.1:{port}", tmp_path / "one.hl7")
    assert ran.status == 1
    assert "nothing listens there" in ran.out


@pytest.mark.parametrize("target", ["127.0.0.1:2575", "mllp://host", "ftp://h:1", "mllp://h:99999", "mllp://:1"])
def test_an_address_it_does_not_know_is_wrong_use(cli: Cli, tmp_path: Path, target: str) -> None:
    (tmp_path / "one.hl7").write_text(message("N1"))
    assert cli("send", target, tmp_path / "one.hl7").status == 2


def test_a_file_that_is_missing_or_empty_is_wrong_use(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.hl7").write_text("\n")
    for name in ("missing.hl7", "empty.hl7"):
        assert cli("send", "mllp://127.0.0.1:1", tmp_path / name).status == 2


class _Receiver(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str | None, str | None, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.headers["Content-Type"], self.headers["Authorization"], body))
        refused = b"REFUSE" in body
        self.send_response(422 if refused else 202)
        said = acknowledgement(body, "AR" if b"|AR1|" in body else "AA") if body[:3] == b"MSH" else b'{"id": 1}'
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def receiver() -> Iterator[str]:
    _Receiver.seen = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/in"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_http_takes_json_and_hl7_with_their_types(cli: Cli, tmp_path: Path, receiver: str) -> None:
    (tmp_path / "one.hl7").write_text(message("H1"))
    (tmp_path / "bundle.json").write_text('{"resourceType": "Bundle"}')
    (tmp_path / "token").write_text("secret\n")
    ran = cli("send", receiver, tmp_path / "one.hl7", tmp_path / "bundle.json", "--token-file", tmp_path / "token")
    assert ran.status == 0
    assert [kind for kind, _, _ in _Receiver.seen] == ["x-application/hl7-v2+er7", "application/fhir+json"]
    assert {token for _, token, _ in _Receiver.seen} == {"Bearer secret"}


@pytest.mark.parametrize("text", ['{"resourceType": "REFUSE"}', message("AR1")])
def test_http_is_positive_only_when_status_and_acknowledgement_are(
    cli: Cli, tmp_path: Path, receiver: str, text: str
) -> None:
    (tmp_path / "one").write_text(text)
    assert cli("send", receiver, tmp_path / "one").status == 1
