"""TLS of MLLP: who is taken and who is not, on both sides, from files."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from contract.connectors.certificates import Authority, Pair

from engine.connectors.mllp import DESTINATION_KNOBS, SOURCE_KNOBS, MllpDestination, MllpSource
from engine.connectors.tls import client_context, read_pins, server_context
from engine.errors import Configuration
from engine.knobs import read_options
from engine.model import Answer, Arrival, Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec, SourceSpec

from .mllp import ACCEPTED, ack, hl7

Run = Callable[[Callable[[], Awaitable[None]]], None]
SENDING = Sending("0000000000001", "0000000000002", 1, "c", "d")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda test: runner.run(asyncio.wait_for(test(), 30))


class World:
    """Two authorities and the nodes they vouch for."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.theirs = Authority(folder, "ours"), Authority(folder, "theirs")
        self.server, self.client = self.ours.issue("server"), self.ours.issue("client")
        self.other_client = self.ours.issue("other-client")
        self.elsewhere = self.ours.issue("elsewhere", host="192.0.2.1")
        self.expired = self.ours.issue("expired", days=-1)
        self.stranger = self.theirs.issue("stranger")

    def source(self, own: Pair, **more: str) -> dict[str, str]:
        return {"certificate": str(own.certificate), "key": str(own.key), **more}

    def mutual(self, own: Pair, **more: str) -> dict[str, str]:
        return self.source(own, client_ca=str(self.ours.certificate), **more)

    def destination(self, own: Pair | None = None, **more: str) -> dict[str, str]:
        pair = {"certificate": str(own.certificate), "key": str(own.key)} if own else {}
        return {"ca": str(self.ours.certificate), **pair, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tls"))


async def exchange(source_options: dict[str, str], destination_options: dict[str, str]) -> Outcome:
    async def accept(raw: bytes, arrival: Arrival) -> Answer:
        return Answer(ACCEPTED, ack(1))

    source = MllpSource("c", SourceSpec("mllps://127.0.0.1:0", options=source_options))
    await source.start(accept)
    to = DestinationSpec("d", source.address, options=destination_options, timeout=5_000_000)
    destination = MllpDestination("c", to)
    try:
        return await destination.deliver(hl7(1), SENDING)
    finally:
        await destination.close()
        await source.stop()


TAKEN: list[tuple[str, Callable[[World], tuple[dict[str, str], dict[str, str]]]]] = [
    ("server only", lambda w: (w.source(w.server), w.destination())),
    ("mutual", lambda w: (w.mutual(w.server), w.destination(w.client))),
    (
        "client pinned by fingerprint",
        lambda w: (w.mutual(w.server, pin=f"sha256:{w.client.fingerprint.upper()}"), w.destination(w.client)),
    ),
    ("client pinned by name", lambda w: (w.mutual(w.server, pin="cn:x, cn:client"), w.destination(w.client))),
    ("server pinned, its host name another", lambda w: (w.source(w.elsewhere), w.destination(pin="cn:elsewhere"))),
    ("its name given", lambda w: (w.source(w.elsewhere), w.destination(server_name="192.0.2.1"))),
]

REFUSED: list[tuple[str, Callable[[World], tuple[dict[str, str], dict[str, str]]], str]] = [
    ("a stranger's server", lambda w: (w.source(w.stranger), w.destination()), "tls_untrusted"),
    ("another host", lambda w: (w.source(w.elsewhere), w.destination()), "tls_untrusted"),
    ("expired", lambda w: (w.source(w.expired), w.destination()), "tls_untrusted"),
    ("not the pinned server", lambda w: (w.source(w.server), w.destination(pin="cn:elsewhere")), "tls_untrusted"),
    (
        "not the pinned fingerprint",
        lambda w: (w.source(w.server), w.destination(pin=f"sha256:{w.client.fingerprint}")),
        "tls_untrusted",
    ),
    ("no client certificate", lambda w: (w.mutual(w.server), w.destination()), ""),
    ("a stranger's client", lambda w: (w.mutual(w.server), w.destination(w.stranger)), ""),
    ("an expired client", lambda w: (w.mutual(w.server), w.destination(w.expired)), ""),
    (
        "not the pinned client",
        lambda w: (w.mutual(w.server, pin=f"sha256:{w.client.fingerprint}"), w.destination(w.other_client)),
        "",
    ),
]


@pytest.mark.parametrize("sides", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_taken(run: Run, world: World, sides: Callable[[World], Any]) -> None:
    async def test() -> None:
        outcome = await exchange(*sides(world))
        assert outcome.taken, outcome

    run(test)


@pytest.mark.parametrize(("sides", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(run: Run, world: World, sides: Callable[[World], Any], code: str) -> None:
    async def test() -> None:
        outcome = await exchange(*sides(world))
        assert not outcome.taken
        if code:
            assert (outcome.code, outcome.unreachable) == (code, True)

    run(test)


def test_plain_against_tls_and_tls_against_plain(run: Run, world: World) -> None:
    async def test() -> None:
        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            return Answer(ACCEPTED, ack(1))

        for listen, to in (("mllp", "mllps"), ("mllps", "mllp")):
            options = world.source(world.server) if listen == "mllps" else {}
            source = MllpSource("c", SourceSpec(f"{listen}://127.0.0.1:0", options=options))
            await source.start(accept)
            port = source.address.rpartition(":")[2]
            dial = world.destination() if to == "mllps" else {}
            spec = DestinationSpec("d", f"{to}://127.0.0.1:{port}", options=dial, timeout=500_000)
            destination = MllpDestination("c", spec)
            assert not (await destination.deliver(hl7(1), SENDING)).taken
            await destination.close()
            await source.stop()

    run(test)


def test_nothing_below_tls_1_2(world: World) -> None:
    server = server_context(read_options(world.source(world.server), SOURCE_KNOBS, "c"), "c")
    client = client_context(read_options(world.destination(), DESTINATION_KNOBS, "c"), "c")
    assert server.minimum_version == client.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("options", "knob"),
    [
        ({}, "certificate"),
        ({"certificate": "/nowhere.pem"}, "certificate"),
        ({"certificate": __file__}, "certificate"),
        ({"pin": "cn:client"}, "pin"),
        ({"client_ca": "/nowhere.pem"}, "client_ca"),
        ({"client_ca": __file__}, "client_ca"),
    ],
)
def test_a_listener_s_files_are_checked_at_once(world: World, options: dict[str, str], knob: str) -> None:
    own = {} if knob == "certificate" else world.source(world.server)
    with pytest.raises(Configuration, match=f'option "{knob}"'):
        server_context(read_options({**own, **options}, SOURCE_KNOBS, "c"), "c")


@pytest.mark.parametrize(
    ("options", "knob"),
    [({"ca": "/nowhere.pem"}, "ca"), ({"pin": "cn:server"}, "pin"), ({"certificate": "/nowhere.pem"}, "certificate")],
)
def test_a_client_s_files_are_checked_at_once(options: dict[str, str], knob: str) -> None:
    with pytest.raises(Configuration, match=f'option "{knob}"'):
        client_context(read_options(options, DESTINATION_KNOBS, "c"), "c")


@pytest.mark.parametrize("pin", ["sha256:12", "sha256:" + "g" * 64, "cn:", "server", "md5:" + "a" * 32])
def test_what_is_no_pin_is_refused(pin: str) -> None:
    with pytest.raises(Configuration, match='option "pin"'):
        read_pins((pin,), "c")
