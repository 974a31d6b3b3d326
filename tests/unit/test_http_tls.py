"""HTTP over TLS from end to end: our destination against our source, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from contract.connectors.certificates import Authority

from engine.connectors import http
from engine.errors import Configuration, Reply, Weight
from engine.model import Answer, Arrival, Outcome, Verdict
from engine.ports import Sending
from engine.wiring import DestinationSpec, SourceSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", "application/json")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Any:
    return LOOPS[request.param]


def deliver(loop: Any, source_options: dict[str, Any], options: dict[str, Any], payload: bytes = b"x") -> Outcome:
    """One delivery from our destination to our source; what was accepted is told by the level."""
    taken: list[bytes] = []

    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        taken.append(raw)
        return Answer(Verdict(Reply.ACCEPT, message=1))

    async def run() -> Outcome:
        source = http.source("c", SourceSpec("https://127.0.0.1:0/in", options=source_options))
        await source.start(accept)
        destination = http.destination("c", DestinationSpec("d", source.address, timeout=5_000_000, options=options))
        outcome = await destination.deliver(payload, SENDING)
        await destination.close()
        await source.stop()
        assert taken == ([payload] if outcome.taken else [])
        return outcome

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


def served(authority: Authority, **more: Any) -> dict[str, Any]:
    pair = authority.issue("server")
    return {"certificate": str(pair.certificate), "key": str(pair.key), **more}


def test_a_trusted_server_takes_small_and_large(tmp_path: Path, loop: Any) -> None:
    authority = Authority(tmp_path)
    options = {"ca": str(authority.certificate)}
    for payload in (b"x", b"y" * 3_000_000):
        assert deliver(loop, served(authority), options, payload).code == "HTTP 202"


def test_a_server_of_another_authority_gets_nothing(tmp_path: Path, loop: Any) -> None:
    other = Authority(tmp_path, "other")
    outcome = deliver(loop, served(Authority(tmp_path)), {"ca": str(other.certificate)})
    assert (outcome.code, outcome.weight, outcome.unreachable) == ("tls_untrusted", Weight.TRANSIENT, True)


def test_a_server_that_is_not_the_pinned_one_gets_nothing(tmp_path: Path, loop: Any) -> None:
    authority = Authority(tmp_path)
    options = {"ca": str(authority.certificate), "pin": "sha256:" + "0" * 64}
    assert deliver(loop, served(authority), options).code == "tls_untrusted"


def test_client_certificates_guard_a_listener(tmp_path: Path, loop: Any) -> None:
    authority = Authority(tmp_path)
    server = served(authority, client_ca=str(authority.certificate))
    http.source("c", SourceSpec("https://0.0.0.0:0/in", options=server))  # guarded: it may be heard from elsewhere
    assert not deliver(loop, server, {"ca": str(authority.certificate)}).taken
    client = authority.issue("client")
    options = {"ca": str(authority.certificate), "certificate": str(client.certificate), "key": str(client.key)}
    assert deliver(loop, server, options).taken
    assert not deliver(loop, {**server, "pin": "cn:somebody-else"}, options).taken


def test_tls_without_a_guard_stays_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(Configuration, match="token"):
        http.source("c", SourceSpec("https://0.0.0.0:0/in", options=served(Authority(tmp_path))))


def test_a_handshake_that_does_not_go_on_ends(tmp_path: Path, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is counted after its handshake only, so one that never ends would be nobody's."""
    monkeypatch.setattr("engine.connectors.http_server._HANDSHAKE_SECONDS", 0.3)

    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        raise AssertionError("nothing was sent")

    async def run() -> None:
        source = http.source("c", SourceSpec("https://127.0.0.1:0/in", options=served(Authority(tmp_path))))
        await source.start(accept)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(source.address).port)
        writer.write(b"\x16\x03")  # the first two bytes of a hello
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        await source.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())
