"""A laboratory's HL7 v2 results through two engines: the first writes FHIR to the second, the second to an EHR.

What the EHR holds at the end is the right state of each result: created, corrected, cancelled, deleted, and final
although a preliminary report came late or while the EHR was down.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.balance import balance
from engine.demo.ehr import FhirEhr
from engine.runtime import Runtime
from engine.settings import load
from engine.web.access import make_token

LABORATORY = """
name        = "results"
title       = "Results to the hospital's engine"
class       = "result"
environment = "test"

[source]
listen = "mllp://127.0.0.1:0"

[[destination]]
name    = "hospital"
to      = "fhir+http://127.0.0.1:{port}/in"
convert = "mappings.hl7v2_fhir:transaction"
validate = "shape"
retry   = {{ attempts = 8, first = "20ms", cap = "50ms" }}
"""
HOSPITAL = """
name        = "results"
title       = "Results to the EHR"
class       = "result"
environment = "test"

[source]
listen = "fhir+http://127.0.0.1:0/in"
format = "fhir"
accept = ["Bundle/transaction/DiagnosticReport"]

[[destination]]
name  = "ehr"
to    = "fhir+http://127.0.0.1:{port}/fhir"
retry = {{ attempts = 8, first = "20ms", cap = "50ms" }}
"""


@asynccontextmanager
async def engine(folder: Path, channel: str) -> AsyncIterator[Runtime]:
    """A whole engine with one channel, as a process runs it."""
    place = folder / "channels" / "results"
    place.mkdir(parents=True)
    (place / "channel.toml").write_text(channel)
    said = {"DATA": folder / "data", "CHANNELS": folder / "channels", "HTTP": "127.0.0.1:0"}
    settings = load({f"INTERLOCK_{name}": str(value) for name, value in said.items()})
    settings.data.mkdir()
    make_token(settings.token_file)
    runtime = Runtime(settings)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


def port_of(runtime: Runtime) -> int:
    return int(urlsplit(runtime.live.sources["results"].address).port or 0)


def result(number: int, order: str, report: str, issued: str, *tests: tuple[str, str, str]) -> bytes:
    """A synthetic ORU^R01: each test a code, a value and its OBX-11; `report` is OBR-25, `issued` OBR-22."""
    lines = [
        f"MSH|^~\\&|LAB|NORTH|EHR|LEE|20260105120000-0600||ORU^R01^ORU_R01|M{number}|T|2.5.1",
        "PID|1||4711^^^INTERLOCK-TEST^MR||Invented^Person||19700101|F",
        f"OBR|1|P{order}|F{order}|BMP^Panel^L|||20260105070000-0600" + "|" * 15 + f"{issued}|||{report}",
        *(
            f"OBX|{at}|NM|{code}^{code}^L||{value}|mmol/L|||||{status}|||20260105070000-0600"
            for at, (code, value, status) in enumerate(tests, 1)
        ),
    ]
    return "\r".join(lines).encode() + b"\r"


class Laboratory:
    """Sends one message after the other over MLLP; each must be taken."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def send(self, *messages: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for raw in messages:
            writer.write(b"\x0b" + raw + b"\x1c\r")
            assert b"MSA|AA|" in await reader.readuntil(b"\x1c\r")
        writer.close()


def states(ehr: FhirEhr) -> dict[str, str]:
    """Of each result by its code: status and value, and of each report by its number."""
    found = {}
    for one in ehr.of_type("Observation"):
        found[one["code"]["text"] if "text" in one["code"] else one["code"]["coding"][0]["code"]] = (
            f"{one['status']} {one.get('valueQuantity', {}).get('value', '-')}"
        )
    for one in ehr.of_type("DiagnosticReport"):
        (number,) = {each["value"] for each in one["identifier"] if each["value"].startswith("F")}
        found[number] = one["status"]
    return found


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


async def settled(*runtimes: Runtime) -> None:
    """Until no engine has anything open; then every account closes."""
    for runtime in runtimes:
        while (await runtime.store.read(lambda c: c.execute(OPEN).fetchone()))[0]:
            await asyncio.sleep(0.01)
        assert (await runtime.store.read(balance)).faults == ()


OPEN = "SELECT count(*) FROM delivery WHERE state NOT IN ('delivered', 'filtered', 'ended')"


def play(folder: Path, story: Callable[..., Any]) -> None:
    """A laboratory, two engines and an EHR."""

    async def run() -> None:
        ehr = FhirEhr()
        port = await ehr.start()
        async with AsyncExitStack() as stack:
            hospital = await stack.enter_async_context(engine(folder / "hospital", HOSPITAL.format(port=port)))
            wiring = LABORATORY.format(port=port_of(hospital))
            laboratory = await stack.enter_async_context(engine(folder / "laboratory", wiring))
            await story(Laboratory(port_of(laboratory)), ehr, laboratory, hospital)
            await settled(laboratory, hospital)
        ehr.go_down()

    asyncio.run(asyncio.wait_for(run(), 60))


EIGHT, NINE, TEN = (f"2026010508{minute}00-0600" for minute in ("00", "10", "20"))


def test_a_result_is_created_corrected_cancelled_and_deleted(tmp_path: Path) -> None:
    async def story(lab: Laboratory, ehr: FhirEhr, laboratory: Runtime, hospital: Runtime) -> None:
        await lab.send(result(1, "1", "F", EIGHT, ("K", "4.10", "F"), ("NA", "140", "F"), ("CL", "101", "F")))
        await until(lambda: states(ehr) == {"K": "final 4.1", "NA": "final 140", "CL": "final 101", "F1": "final"})
        await lab.send(result(2, "1", "C", NINE, ("K", "4.90", "C")))
        await until(lambda: states(ehr)["K"] == "corrected 4.9")
        await lab.send(result(3, "1", "C", TEN, ("NA", "", "X"), ("CL", "101", "D")))
        await until(lambda: states(ehr)["CL"].startswith("entered-in-error"))
        assert states(ehr)["NA"].startswith("cancelled")
        assert states(ehr)["K"] == "corrected 4.9"
        assert len(ehr.of_type("Observation")) == 3
        await lab.send(result(1, "1", "F", EIGHT, ("K", "4.10", "F"), ("NA", "140", "F"), ("CL", "101", "F")))  # again
        await settled(laboratory, hospital)
        assert states(ehr)["K"] == "corrected 4.9"
        kept = await hospital.store.read(
            lambda c: c.execute("SELECT organization, id FROM message ORDER BY id").fetchall()
        )
        raw = await hospital.store.load(*kept[0])
        assert b'"value":4.10' in raw  # every digit as the laboratory wrote it
        assert json.loads(raw)["identifier"]["value"] == "M1"

    play(tmp_path, story)


def test_a_preliminary_report_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    async def story(lab: Laboratory, ehr: FhirEhr, laboratory: Runtime, hospital: Runtime) -> None:
        await lab.send(result(1, "1", "F", NINE, ("K", "4.9", "F")), result(2, "1", "P", EIGHT, ("K", "4.1", "P")))
        await settled(laboratory, hospital)
        assert states(ehr) == {"K": "final 4.9", "F1": "final"}
        codes = await hospital.store.read(lambda c: c.execute("SELECT code FROM attempt ORDER BY id").fetchall())
        assert [row[0] for row in codes] == ["HTTP 200", "superseded"]

    play(tmp_path, story)


def test_what_waits_while_the_ehr_is_down_arrives_in_its_order(tmp_path: Path) -> None:
    async def story(lab: Laboratory, ehr: FhirEhr, laboratory: Runtime, hospital: Runtime) -> None:
        ehr.go_down()
        await lab.send(
            result(1, "1", "P", EIGHT, ("K", "4.1", "P")),
            result(2, "1", "F", NINE, ("K", "4.9", "F")),
            result(3, "1", "C", TEN, ("K", "5.0", "C")),
        )
        await settled(laboratory)
        await ehr.start()
        await settled(laboratory, hospital)
        assert states(ehr) == {"K": "corrected 5", "F1": "corrected"} or states(ehr)["K"] == "corrected 5.0"
        assert ehr.transactions == 3

    play(tmp_path, story)
