"""The http source: who is heard, what is refused before it is read, and what every verdict looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from contract.connectors.http_peer import read_message

from engine import observe
from engine.connectors import http
from engine.connectors.http_source import HttpSource
from engine.errors import Configuration, Reply
from engine.model import Answer, Arrival, Verdict, show_id
from engine.wiring import SourceSpec

ACCEPTED = Answer(Verdict(Reply.ACCEPT, message=77))
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def talk(*talks: Talk, answer: Answer = ACCEPTED, listen: str = "http://127.0.0.1:0/in", **spec: Any) -> list[bytes]:
    """Run clients at once against a source; gives what was accepted."""
    taken: list[bytes] = []

    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        taken.append(raw)
        return answer

    async def client(source: Any, talk: Talk) -> None:
        at = urlsplit(source.address)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    async def run() -> None:
        source = http.source("c", SourceSpec(listen, **spec))
        await source.start(accept)
        try:
            await asyncio.gather(*(client(source, each) for each in talks))
        finally:
            await source.stop()

    asyncio.run(run())
    return taken


def exchange(request: bytes, **spec: Any) -> tuple[int, dict[str, str], bytes, list[bytes]]:
    """One request: status, headers, body, and what was accepted."""
    seen: list[tuple[bytes, bytes]] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request)
        seen.append(await read_message(reader))

    taken = talk(client, **spec)
    first, *lines = seen[0][0].decode().strip().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), seen[0][1], taken


def post(body: bytes = b"x", kind: str = "application/json", path: str = "/in", extra: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def test_accepted_is_202_with_the_message() -> None:
    status, headers, body, taken = exchange(post(b"abc"))
    assert (status, json.loads(body), taken) == (202, {"message": show_id(77), "status": "accepted"}, [b"abc"])
    assert headers["Cache-Control"] == "no-store"


VERDICTS = [
    (Verdict(Reply.ERROR, "store_unavailable", "no", transient=True), 503),
    (Verdict(Reply.ERROR, "channel_not_taking", "no", transient=True), 503),
    (Verdict(Reply.ERROR, "unreadable", "parsing MSH", where="MSH-9"), 400),
    (Verdict(Reply.REJECT, "not_accepted", "no"), 422),
    (Verdict(Reply.REJECT, "wrong_environment", "no"), 403),
    (Verdict(Reply.REJECT, "too_large", "no"), 413),
]


@pytest.mark.parametrize(("verdict", "status"), VERDICTS, ids=lambda value: getattr(value, "code", ""))
def test_every_refusal_says_what_to_do(verdict: Verdict, status: int) -> None:
    seen, headers, body, _ = exchange(post(), answer=Answer(verdict))
    assert seen == status
    assert ("Retry-After" in headers) is (status == 503)
    told = json.loads(body)
    assert told["error"] == verdict.code
    assert told["advice"]


def test_hl7_in_hl7_out() -> None:
    kind = "application/hl7-v2; charset=utf-8"
    status, headers, body, _ = exchange(post(b"MSH|", kind), answer=Answer(ACCEPTED.verdict, b"MSH|ACK"))
    assert (status, headers["Content-Type"], body) == (200, "application/hl7-v2", b"MSH|ACK")
    refused = Answer(Verdict(Reply.REJECT, "not_accepted"), b"MSH|AR")
    status, _, body, _ = exchange(post(b"MSH|", kind), answer=refused)
    assert (status, body) == (422, b"MSH|AR")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /in HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (post(path="/other"), 404),
        (post(kind="multipart/form-data; boundary=x"), 415),
        (post(extra="Content-Encoding: gzip\r\n"), 415),
        (post(extra="Origin: http://evil.example\r\n"), 403),
        (b"nonsense\r\n\r\n", 400),
        (post(extra="Transfer-Encoding: chunked\r\n"), 400),
        (b"POST /in HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"POST /in HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
        (b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", 413),
        (b"POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + b"x" * 80 + b"\r\n", 413),
    ],
)
def test_what_is_refused_before_the_path(request_: bytes, status: int) -> None:
    seen, headers, _, taken = exchange(request_, max_size=64)
    assert (seen, taken, headers["Connection"]) == (status, [], "close")


def test_without_a_token_only_loopback_listens() -> None:
    for host in ("0.0.0.0", "10.0.0.1", "[::]", "example.org"):
        with pytest.raises(Configuration, match="token"):
            http.source("c", SourceSpec(f"http://{host}:0/in"))
    http.source("c", SourceSpec("http://[::1]:0/in"))


@pytest.mark.parametrize(
    "listen", ["http://127.0.0.1/in", "http://127.0.0.1:0/in?x", "mllp://127.0.0.1:1", "http://:0"]
)
def test_addresses_that_cannot_be_listened_at(listen: str) -> None:
    with pytest.raises(Configuration):
        http.source("c", SourceSpec(listen))


def test_a_port_in_use_is_a_fault_with_advice() -> None:
    async def run() -> None:
        first = http.source("c", SourceSpec("http://127.0.0.1:0/in"))
        await first.start(lambda raw, arrival: asyncio.sleep(0, ACCEPTED))
        with pytest.raises(Configuration) as caught:
            second = http.source("c", SourceSpec(first.address))
            await second.start(lambda raw, arrival: asyncio.sleep(0, ACCEPTED))
        assert caught.value.advice
        await first.stop()

    asyncio.run(run())


def guarded(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "tokens").write_text("one\ntwo\n")
    return {"options": {"token": f"file:{tmp_path}/tokens"}, "max_size": 20_000_000}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Authorization: Bearer three\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        ("Authorization: Basic one\r\n", 401),
        ("Authorization: Bearer one\r\n", 202),
        ("Authorization: bearer two\r\n", 202),
    ],
)
def test_tokens(tmp_path: Path, header: str, status: int) -> None:
    assert exchange(post(extra=header), **guarded(tmp_path))[0] == status


def test_a_stranger_is_answered_before_its_body_is_read(tmp_path: Path) -> None:
    head = b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"  # and not one byte of the 10 MB
    assert exchange(head, **guarded(tmp_path))[0] == 401


def test_tokens_that_vanish_let_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.connectors.secret._FRESH_SECONDS", -1.0)
    spec = guarded(tmp_path)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (tmp_path / "tokens").unlink()
        writer.write(post(extra="Authorization: Bearer one\r\n"))
        assert (await read_message(reader))[0].startswith(b"HTTP/1.1 503")

    assert talk(client, **spec) == []


def test_expect_continue_is_answered_after_the_head_was_judged() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /in HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await read_message(reader))[0].startswith(b"HTTP/1.1 202")

    assert talk(client) == [b"abc"]


def test_pipelined_requests_are_answered_in_order_also_when_one_is_refused() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"1") + post(b"2") + post(b"3", path="/other") + post(b"4"))
        statuses = [(await read_message(reader))[0][9:12] for _ in range(3)]
        assert statuses == [b"202", b"202", b"404"]
        assert await reader.read() == b""

    assert talk(client) == [b"1", b"2"]


def test_a_dripping_client_is_cut_off_and_hurts_nobody() -> None:
    async def dripper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in post(b"x" * 1000)[:40]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await read_message(reader))[0].startswith(b"HTTP/1.1 408")

    async def normal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            writer.write(post(b"fine"))
            assert (await read_message(reader))[0].startswith(b"HTTP/1.1 202")

    assert talk(dripper, dripper, normal, options={"request_within": "200ms"}) == [b"fine"] * 5


def test_a_silent_connection_is_closed() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)

    assert talk(silent, options={"idle": "50ms"}) == []


def test_one_peer_has_so_many_connections_and_no_more() -> None:
    served = 0
    turn = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        writer.write(post())
        try:
            await read_message(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            turn.set()
            return
        served += 1
        await turn.wait()

    talk(client, client, client, options={"connections_each": 2})
    assert served == 2


def test_knobs_are_strict() -> None:
    with pytest.raises(Configuration, match="tokn"):
        HttpSource("c", SourceSpec("http://127.0.0.1:0/in", options={"tokn": "env:X"}))


def test_what_the_listener_itself_refuses_is_counted() -> None:
    for code in ("too_large", "not_here"):
        observe.connector_events.pop(("c", code), None)
    exchange(b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n", max_size=10)
    exchange(post(path="/other"))
    assert observe.connector_events.pop(("c", "too_large")) == 1
    assert observe.connector_events.pop(("c", "not_here")) == 1


def test_when_the_path_breaks_the_sender_is_told_to_come_again(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[bytes] = []

    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        taken.append(raw)
        if len(taken) == 1:
            raise IndexError("DOE^JANE")
        return ACCEPTED

    async def run() -> list[bytes]:
        source = http.source("c", SourceSpec("http://127.0.0.1:0/in"))
        await source.start(accept)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(source.address).port)
        writer.write(post() + post())
        heads = [(await read_message(reader))[0] for _ in range(2)]
        writer.close()
        await source.stop()
        return heads

    observe.connector_events.pop(("c", "accept_failed"), None)
    caplog.set_level("INFO")
    first, second = asyncio.run(asyncio.wait_for(run(), 10))
    assert (first[9:12], second[9:12]) == (b"503", b"202")
    assert observe.connector_events.pop(("c", "accept_failed")) == 1
    assert "accept_failed" in caplog.text and "DOE" not in caplog.text


def test_a_message_arrives_when_the_clock_says() -> None:
    class Clock:
        def now(self) -> int:
            return 77

    async def run() -> int:
        arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            arrived.set_result(arrival.at)
            return ACCEPTED

        source = HttpSource("c", SourceSpec("http://127.0.0.1:0/in"), Clock())
        await source.start(accept)
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(source.address).port)
        writer.write(post())
        try:
            return await arrived
        finally:
            writer.close()
            await source.stop()

    assert asyncio.run(asyncio.wait_for(run(), 10)) == 77
