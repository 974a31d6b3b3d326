"""A whole run against subjects whose faults are known, with phases cut short."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from engine.bench import run
from engine.bench.load import Phase
from engine.bench.messages import END, NUMBER_LENGTH, START, TAG_LENGTH
from engine.bench.process import free_port, wait_for_port

PLAN = run.Plan(connections=3, seconds=0.2, to="mllp", patients=10)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WARM_UP", Phase(seconds=5, count=20))
    monkeypatch.setattr(run, "OPEN", Phase(rate=2000.0, count=20))
    monkeypatch.setattr(run, "IDLE", Phase(count=5, pause=0.001))
    monkeypatch.setattr(run, "STALL_SECONDS", 0.2)


def forward(port: int, sink_port: int, fault: str) -> None:
    """An engine in fifteen lines: forwards each frame, then answers, but with a fault at every seventh message."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sink_reader, sink = await asyncio.open_connection("127.0.0.1", sink_port)
        while frame := await _frame(reader):
            control_id = frame.split(b"|", 10)[9]
            unlucky = int(control_id[TAG_LENGTH : TAG_LENGTH + NUMBER_LENGTH]) % 7 == 0
            for _ in range({"lose": 0, "double": 2}.get(fault, 1) if unlucky else 1):
                sink.write(frame)
                await sink_reader.readuntil(END)
            code = b"AE" if unlucky and fault == "refuse" else b"AA"
            writer.write(START + b"MSH|^~\\&|X\rMSA|" + code + b"|" + control_id + b"\r" + END)
        sink.close()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(take, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


async def _frame(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(END)
    except asyncio.IncompleteReadError:
        return b""


class Forwarder:
    """A subject of the bench with one known fault."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.process: BaseProcess | None = None

    def start(self, sink_port: int) -> tuple[int, int]:
        port = free_port()
        self.process = multiprocessing.get_context("spawn").Process(target=forward, args=(port, sink_port, self.fault))
        self.process.start()
        wait_for_port(port, 20)
        assert self.process.pid
        return self.process.pid, port

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.join()
            self.process = None

    def stored_bytes(self) -> int | None:
        return None

    def verdict(self) -> dict[str, Any]:
        return {"balance_open": False}


def test_a_sound_subject_has_every_figure_and_no_fault() -> None:
    told: list[str] = []
    figures = run.measure(Forwarder(), PLAN, lambda name, seconds: told.append(name))
    promised = "acked_per_s delivered_per_s ack_p50_ms ack_p99_ms delivery_p50_ms delivery_p99_ms cpu_ms_per_message"
    promised += " order_violations lost duplicated stored_bytes_per_message rss_mb"
    assert set(promised.split()) <= set(figures)
    assert figures["delivered_per_s"] > 0 and figures["delivery_p50_ms"] > 0
    assert figures["lost"] == figures["duplicated"] == figures["order_violations"] == figures["refused"] == 0
    assert told == ["start", "warm-up", "main", "open loop", "idle", "stop"]


@pytest.mark.parametrize(("fault", "figure"), [("lose", "lost"), ("double", "duplicated"), ("refuse", "refused")])
def test_a_fault_of_the_subject_shows_in_its_figure_and_in_no_other(fault: str, figure: str) -> None:
    figures = run.measure(Forwarder(fault), PLAN)
    for name in ("lost", "duplicated", "refused", "order_violations"):
        assert (figures[name] > 0) is (name == figure), name


def test_an_open_loop_sends_what_is_due() -> None:
    figures = run.measure(Forwarder(), run.Plan(connections=3, seconds=0.5, to="mllp", patients=10, rate=200.0))
    assert figures["messages"] == 100
    assert figures["lost"] == 0


@pytest.mark.parametrize("wrong", [{"to": "ftp"}, {"connections": 0}, {"seconds": -1}, {"rate": -5}, {"rounds": 0}])
def test_numbers_that_make_no_sense_start_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        run.run_bench(**wrong)
