"""The two EHRs over real sockets: what they keep, and that an outage loses nothing they had."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from engine.bench.messages import END, START
from engine.demo.ehr import Ehr, FhirEhr, MllpEhr


def transaction(*entries: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    made = [{"request": {"method": method, "url": url}, "resource": resource} for method, url, resource in entries]
    return {"resourceType": "Bundle", "type": "transaction", "entry": made}


def patient(identifier: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:test", "value": identifier}]}


def with_fhir(story: Callable[[FhirEhr, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        ehr = FhirEhr()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await ehr.start()}/fhir") as client:
            await story(ehr, client)
        ehr.go_down()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_transaction_is_kept_and_each_entry_answered() -> None:
    async def story(ehr: FhirEhr, client: httpx.AsyncClient) -> None:
        report = {"resourceType": "DiagnosticReport", "id": "r1", "status": "preliminary"}
        bundle = transaction(("PUT", "Patient/p1", patient("1")), ("PUT", "DiagnosticReport/r1", report))
        first = (await client.post("", json=bundle)).json()
        bundle["entry"][1]["resource"] = report | {"status": "final"}
        second = (await client.post("", json=bundle)).json()
        assert [entry["response"]["status"] for entry in first["entry"]] == ["201 Created", "201 Created"]
        assert [entry["response"]["status"] for entry in second["entry"]] == ["200 OK", "200 OK"]
        assert ehr.of_type("DiagnosticReport") == [report | {"status": "final"}]
        assert (await client.get("/Patient/p1")).json() == patient("1")
        assert ehr.transactions == 2

    with_fhir(story)


def test_a_conditional_entry_finds_the_resource_with_its_identifier() -> None:
    async def story(ehr: FhirEhr, client: httpx.AsyncClient) -> None:
        for number in ("1", "2", "1"):
            await client.post("", json=transaction(("PUT", f"Patient?identifier=urn:test|{number}", patient(number))))
        await client.post("", json=transaction(("POST", "Patient", patient("3"))))
        assert len(ehr.of_type("Patient")) == 3

    with_fhir(story)


def test_a_fault_is_found_before_anything_is_kept() -> None:
    async def story(ehr: FhirEhr, client: httpx.AsyncClient) -> None:
        bundle = transaction(("PUT", "Patient/p1", patient("1")))
        bundle["entry"].append({"resource": patient("2")})
        assert (await client.post("", json=bundle)).status_code == 400
        assert (await client.post("", content=b"{")).status_code == 400
        assert (await client.delete("/Patient/p1")).status_code == 405
        assert (await client.get("/Patient/p1")).status_code == 404
        assert not ehr.resources

    with_fhir(story)


def test_it_says_what_it_is_and_takes_single_resources() -> None:
    async def story(ehr: FhirEhr, client: httpx.AsyncClient) -> None:
        assert (await client.get("/metadata")).json()["resourceType"] == "CapabilityStatement"
        assert (await client.put("/Patient/p9", json=patient("9"))).status_code == 201
        assert (await client.put("/Patient/p9", json=patient("9"))).status_code == 200
        assert len(ehr.of_type("Patient")) == 1

    with_fhir(story)


def test_frames_in_pieces_and_together_are_each_answered() -> None:
    frames = b"".join(START + b"MSH|^~\\&|a|b|c|d|1||ORU^R01|%s|T|2.5.1\r" % name + END for name in (b"A", b"B"))

    async def story(size: int) -> None:
        ehr = MllpEhr()
        reader, writer = await asyncio.open_connection("127.0.0.1", await ehr.start())
        for start in range(0, len(frames), size):
            writer.write(frames[start : start + size])
            await writer.drain()
        answers = [await reader.readuntil(END), await reader.readuntil(END)]
        assert [answer.split(b"MSA|")[1] for answer in answers] == [b"AA|A\r" + END, b"AA|B\r" + END]
        assert ehr.counts() == Counter(A=1, B=1)
        writer.close()
        await writer.wait_closed()
        ehr.go_down()
        await asyncio.sleep(0)

    for size in (1, 20, len(frames)):
        asyncio.run(story(size))


@pytest.mark.parametrize("kind", [FhirEhr, MllpEhr])
def test_down_is_down_and_back_is_on_the_same_port(kind: type[Ehr]) -> None:
    async def story() -> None:
        ehr = kind("an EHR")
        port = await ehr.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not ehr.transports:
            await asyncio.sleep(0)
        ehr.go_down()
        assert not ehr.up
        with contextlib.suppress(ConnectionResetError):  # as good an end as an orderly one
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await ehr.start() == port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        ehr.go_down()
        await asyncio.sleep(0)

    asyncio.run(story())
