"""The http destination: what it sends, what it makes of an answer, and where it does not connect."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from contract.connectors.http_peer import Peer, answer

from engine.connectors import http
from engine.connectors.addresses import refused
from engine.connectors.http_caller import retry_after, weight_of
from engine.connectors.secret import read_secret
from engine.errors import Configuration, Weight
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", "application/json")


def deliver(shows: dict[str, bytes], *behaviours: str, **spec: Any) -> tuple[list[Outcome], Peer]:
    """Deliver once for each behaviour."""
    peer = Peer(shows)

    async def run() -> list[Outcome]:
        await peer.up()
        destination = http.destination("c", DestinationSpec("d", f"http://127.0.0.1:{peer.port}/in?x=1", **spec))
        peer.show(*behaviours)
        outcomes = [await destination.deliver(b"payload", SENDING) for _ in behaviours]
        await destination.close()
        await peer.down()
        return outcomes

    return asyncio.run(run()), peer


def one(wire: bytes, **spec: Any) -> Outcome:
    return deliver({"it": wire}, "it", **spec)[0][0]


def test_the_request_carries_type_ids_and_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    _, peer = deliver({}, "take", secret=f"file:{tmp_path}/token")
    lines = peer.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /in?x=1 HTTP/1.1"
    assert {
        f"Host: 127.0.0.1:{peer.port}",
        "Content-Type: application/json",
        "Idempotency-Key: 00000000000ab",
        "X-Request-Id: 00000000000ab",
        "Authorization: Bearer t0ken",
        "Content-Length: 7",
    } <= set(lines)


@pytest.mark.parametrize(
    ("auth", "line"),
    [("basic", "Authorization: Basic dTpw"), ("header:X-Api-Key", "X-Api-Key: u:p")],
)
def test_other_forms_of_credentials(monkeypatch: pytest.MonkeyPatch, auth: str, line: str) -> None:
    monkeypatch.setenv("HTTP_TEST_SECRET", "u:p")
    _, peer = deliver({}, "take", secret="env:HTTP_TEST_SECRET", options={"auth": auth})
    assert line in peer.heads[0].decode().split("\r\n")


def test_a_missing_secret_leaves_nothing_and_says_what_to_do() -> None:
    (outcome,), peer = deliver({}, "take", secret="env:HTTP_TEST_NOT_SET")
    assert (outcome.unreachable, outcome.weight, peer.heads) == (True, Weight.TRANSIENT, [])
    assert "Set the variable" in outcome.detail


def test_a_secret_that_would_be_a_second_header_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a\r\nX-Evil: 1")
    (outcome,), peer = deliver({}, "take", secret=f"file:{tmp_path}/token")
    assert (outcome.code, peer.heads) == ("secret_unusable", [])


@pytest.mark.parametrize("reference", ["plain-secret", "env:", "file:", "file:/no/such/file", "env:HTTP_TEST_NOT_SET"])
def test_a_secret_is_a_reference_that_leads_somewhere(reference: str) -> None:
    with pytest.raises(Configuration) as caught:
        read_secret(reference)
    assert reference not in caught.value.text


TABLE = {
    **dict.fromkeys((200, 201, 204, 299), None),
    **dict.fromkeys((401, 408, 409, 423, 425, 429, 500, 502, 503, 504, 507), Weight.TRANSIENT),
    **dict.fromkeys((300, 301, 302, 304, 307, 308), Weight.PERMANENT),
    **dict.fromkeys((400, 403, 404, 405, 410, 412, 413, 415, 422, 501, 505), Weight.PERMANENT),
}


@pytest.mark.parametrize(("status", "weight"), TABLE.items())
def test_each_status_has_its_class(status: int, weight: Weight | None) -> None:
    assert weight_of(status) is weight


@pytest.mark.parametrize(("status", "level"), [("200 OK", "application"), ("202 Accepted", "commit")])
def test_202_says_only_that_it_is_kept(status: str, level: str) -> None:
    outcome = one(answer(status))
    assert (outcome.taken, outcome.level, outcome.code) == (True, level, f"HTTP {status[:3]}")


def test_statuses_can_be_judged_otherwise() -> None:
    options = {"statuses": "409=taken, 404=transient,500=ambiguous"}
    assert one(answer("409 Conflict"), options=options).taken
    assert one(answer("404 Not Found"), options=options).weight is Weight.TRANSIENT
    assert one(answer("500 Oops"), options=options).weight is Weight.AMBIGUOUS


@pytest.mark.parametrize("statuses", ["409", "99=taken", "409=maybe", "x=taken", "=taken"])
def test_a_wrong_table_of_statuses_is_a_fault(statuses: str) -> None:
    with pytest.raises(Configuration, match="statuses"):
        http.destination("c", DestinationSpec("d", "http://127.0.0.1:1/", options={"statuses": statuses}))


def test_an_html_page_may_be_declared_an_answer() -> None:
    page = answer("200 OK", b"<html>thanks</html>", "text/html")
    assert one(page).code == "html_page"
    assert one(page, options={"html": "take"}).taken


def test_retry_after_in_both_forms() -> None:
    assert retry_after(b"120", 0.0) == 120_000_000
    assert retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0 - 30) == 30_000_000
    assert retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0 + 30) == 0
    assert retry_after(b"soon", 0.0) == 0
    assert retry_after(b"-5", 0.0) == 0
    assert retry_after(b"9" * 30, 0.0) == 86_400_000_000
    assert one(answer("503 Busy", extra="Retry-After: 7\r\n")).retry_after == 7_000_000


def test_answers_with_other_framings_are_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert one(chunked).answer == b"abcde"
    outcomes, _ = deliver({"cut: until the end": b"HTTP/1.0 200 OK\r\n\r\nabc"}, "cut: until the end")
    assert (outcomes[0].taken, outcomes[0].answer) == (True, b"abc")
    assert one(b"HTTP/1.1 100 Continue\r\n\r\n" + answer("201 Created", b"x")).code == "HTTP 201"


def test_an_answer_above_the_limit_is_in_doubt_and_not_kept() -> None:
    outcome = one(answer("200 OK", b"x" * 2000), options={"answer_size": "1KiB"})
    assert (outcome.code, outcome.weight, outcome.answer) == ("answer_too_large", Weight.AMBIGUOUS, b"")


def test_a_second_answer_is_never_taken_for_the_next_request() -> None:
    shows = {"two": answer("200 OK") + answer("422 Stray"), "mine": answer("201 Created")}
    outcomes, _ = deliver(shows, "two", "mine")
    assert [outcome.code for outcome in outcomes] == ["HTTP 200", "HTTP 201"]


def test_a_connection_is_used_again_and_one_that_closes_is_not() -> None:
    peers: set[int] = set()

    class Counting(Peer):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.add(writer.get_extra_info("peername")[1])
            await super()._serve(reader, writer)

    async def run(behaviour: str) -> int:
        peers.clear()
        peer = Counting({"close": answer("200 OK", extra="Connection: close\r\n")})
        await peer.up()
        destination = http.destination("c", DestinationSpec("d", f"http://127.0.0.1:{peer.port}/"))
        peer.show(*[behaviour] * 3)
        for _ in range(3):
            assert (await destination.deliver(b"x", SENDING)).taken
        await destination.close()
        await peer.down()
        return len(peers)

    assert asyncio.run(run("take")) == 1
    assert asyncio.run(run("close")) == 3


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1%eth0",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "100.100.100.200",
        "ff02::1",
    ],
)
def test_addresses_that_are_never_dialled(address: str) -> None:
    assert refused(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "8.8.8.8", "fd12::1", "2606::1"])
def test_addresses_of_ordinary_destinations(address: str) -> None:
    assert not refused(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/x",
        "http://[::]/x",
        "http://user:pw@host/x",
        "http://host/x#y",
        "ftp://host/x",
        "http://",
        "http://host:99999/",
        "http://host/a b",
        "http://host/ä",
    ],
)
def test_urls_that_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(Configuration):
        http.destination("c", DestinationSpec("d", url))


def test_a_metadata_address_behind_a_name_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Outcome:
        async def answer_metadata(*_: Any, **__: Any) -> list[Any]:
            return [(2, 1, 6, "", ("169.254.169.254", 80))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer_metadata)
        destination = http.destination("c", DestinationSpec("d", "http://harmless.example/"))
        return await destination.deliver(b"x", SENDING)

    outcome = asyncio.run(run())
    assert (outcome.code, outcome.unreachable) == ("address_refused", True)


def test_an_hl7_acknowledgement_is_judged_as_one() -> None:
    message = b"MSH|^~\\&|A|B|C|D|20240101||ADT^A01|C1|T|2.5\r"
    kind = "application/hl7-v2"

    def ack(code: str, about: str = "C1") -> bytes:
        return f"MSH|^~\\&|C|D|A|B|20240101||ACK|X1|T|2.5\rMSA|{code}|{about}\r".encode()

    async def run(wire: bytes) -> Outcome:
        peer = Peer({"it": wire})
        await peer.up()
        destination = http.destination("c", DestinationSpec("d", f"http://127.0.0.1:{peer.port}/"))
        peer.show("it")
        outcome = await destination.deliver(message, SENDING)
        await destination.close()
        await peer.down()
        return outcome

    assert asyncio.run(run(answer("200 OK", ack("AA"), kind))).taken
    assert asyncio.run(run(answer("200 OK", ack("AR"), kind))).weight is Weight.PERMANENT
    assert not asyncio.run(run(answer("200 OK", ack("AE"), kind))).taken
    assert asyncio.run(run(answer("200 OK", ack("AA", "C2"), kind))).weight is Weight.AMBIGUOUS
    assert asyncio.run(run(answer("500 Oops", ack("AR"), kind))).code == "AR"
    assert asyncio.run(run(answer("500 Oops", ack("AA"), kind))).code == "HTTP 500"
    assert asyncio.run(run(answer("200 OK", b"", kind))).weight is Weight.AMBIGUOUS
