"""What the API answers is what its document says, refuses what is not on its lists, and leaks nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from engine.errors import Configuration, StoreUnavailable
from engine.model import show_id
from engine.web.app import HttpServer, build_app
from engine.web.openapi import document
from tests.unit.web_help import FakeRuntime, deliver, keep, open_runtime, with_client

DOCUMENT = document()


def valid(response: httpx.Response, path: str, method: str = "get") -> Any:
    """The answer, after it was held against its description."""
    answers = DOCUMENT["paths"][path][method]["responses"]
    assert str(response.status_code) in answers, response.text
    schema = answers[str(response.status_code)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(response.json())
    return response.json()


def test_the_document_is_sound() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    named = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert named == set(DOCUMENT["components"]["schemas"])


def test_answers_are_as_described(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        kept = await keep(runtime.store)
        await deliver(runtime.store, kept)
        await keep(runtime.store, "C2")
        valid(await client.get("/healthz"), "/healthz")
        assert valid(await client.get("/readyz"), "/readyz") == {"ready": True, "reasons": []}
        (channel,) = valid(await client.get("/v1/channels"), "/v1/channels")["channels"]
        assert channel["counts"]["received"] == 2
        assert channel["destinations"][0]["counts"]["delivered"] == 1
        assert len(valid(await client.get("/v1/messages"), "/v1/messages")["messages"]) == 2
        traced = await client.get(f"/v1/messages/{show_id(kept.verdict.message)}")
        shown = valid(traced, "/v1/messages/{id}")
        assert shown["raw"].startswith("MSH|")
        assert shown["deliveries"][0]["tries"][0]["tables"] == "loinc@1"
        assert (await client.get("/openapi.json")).json() == DOCUMENT

    with_client(tmp_path, ask)


def test_messages_are_found_by_control_id_page_by_page(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        for number in range(5):
            await keep(runtime.store, f"C{number}")
        (found,) = (await client.get("/v1/messages", params={"control_id": "C3"})).json()["messages"]
        first = (await client.get("/v1/messages", params={"limit": 3})).json()
        rest = (await client.get("/v1/messages", params={"limit": 3, "before": first["next"]})).json()
        ids = [message["id"] for message in (*first["messages"], *rest["messages"])]
        assert rest["next"] is None
        assert ids == sorted(ids, reverse=True)
        assert len(set(ids)) == 5
        assert found["id"] == ids[1]

    with_client(tmp_path, ask)


def test_a_patient_is_searched_in_a_body_and_never_in_an_address(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        await keep(runtime.store, "C1", "P1")
        await keep(runtime.store, "C2", "P2")
        found = await client.post("/v1/messages/search", json={"patient": "P2", "limit": 10})
        assert len(valid(found, "/v1/messages/search", "post")["messages"]) == 1
        refused = await client.get("/v1/messages", params={"patient": "P2"})
        assert "POST /v1/messages/search" in valid(refused, "/v1/messages")["error"]["advice"]
        assert (await client.post("/v1/messages/search?patient=P2", json={})).status_code == 400

    with_client(tmp_path, ask)


@pytest.mark.parametrize(
    "query",
    [
        "nosuch=1", "limit=0", "limit=1001", "limit=x", "limit=-1", "state=nosuch", "since=soon", "before=x",
        "channel=a&channel=b", "since=2026-13-01", "limit=99999999999999999999", "control_id=" + "x" * 300,
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_is_refused_with_the_list(tmp_path: Path, query: str) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        response = await client.get(f"/v1/messages?{query}")
        assert response.status_code == 400
        told = valid(response, "/v1/messages")["error"]
        assert told["code"] == "term"
        value = query.partition("=")[2].partition("&")[0]
        assert len(value) < 4 or value not in told["text"]
        if query.startswith("nosuch"):
            assert "control_id" in told["advice"]

    with_client(tmp_path, ask)


@pytest.mark.parametrize(
    "query", ["since=9999-12-31", "until=0001-01-01", "since=9000000000d", "since=1969-01-01&until=1m"]
)
def test_times_far_away_find_nothing_and_break_nothing(tmp_path: Path, query: str) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> int:
        return (await client.get(f"/v1/messages?{query}")).status_code

    assert with_client(tmp_path, ask) == 200


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[]", b'{"patient": ["x"]}', b'{"nosuch": "x"}', b'{"limit": null}']
)
def test_a_body_that_is_no_search_is_refused(tmp_path: Path, body: bytes) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        valid(await client.post("/v1/messages/search", content=body), "/v1/messages/search", "post")

    with_client(tmp_path, ask)


def test_a_body_is_read_up_to_its_limit_and_no_further(tmp_path: Path) -> None:
    read = 0

    async def endless() -> Any:
        nonlocal read
        for _ in range(1000):
            read += 8192
            yield b" " * 8192

    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        response = await client.post("/v1/messages/search", content=endless())
        assert valid(response, "/v1/messages/search", "post")["error"]["text"] == "the body is too large"
        assert response.status_code == 413

    with_client(tmp_path, ask)


@pytest.mark.parametrize("number", ["0000000000000", "x", "0" * 12, "z" * 13])
def test_nothing_of_that_id_is_404(tmp_path: Path, number: str) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        response = await client.get(f"/v1/messages/{number}")
        assert response.status_code == 404
        valid(response, "/v1/messages/{id}")

    with_client(tmp_path, ask)


def test_a_trace_without_payloads_opens_nothing(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        kept = await keep(runtime.store)
        await deliver(runtime.store, kept)
        response = await client.get(f"/v1/messages/{show_id(kept.verdict.message)}?payloads=false")
        shown = valid(response, "/v1/messages/{id}")
        assert shown["raw"] is None
        assert shown["deliveries"][0]["tries"][0]["output"] is None
        assert "Willow" not in response.text

    with_client(tmp_path, ask)


def test_an_unforeseen_error_says_nothing_of_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> httpx.Response:
        monkeypatch.setattr("engine.web.messages.search", _raise)
        return await client.get("/v1/messages")

    with caplog.at_level(logging.DEBUG):
        response = with_client(tmp_path, ask)
    assert response.status_code == 500
    assert response.headers["cache-control"] == "no-store"
    assert "Willow" not in response.text + caplog.text


def _raise(*_: object) -> None:
    raise RuntimeError("Willow^Wendy")


# the probes


def test_not_ready_while_starting_or_stopping_or_without_room_or_with_a_channel_down(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        runtime.ready, runtime.ports.room, runtime.address = False, False, ""
        response = await client.get("/readyz")
        told = valid(response, "/readyz")
        assert response.status_code == 503
        assert told["reasons"] == ["not_serving", "disk_below_reserve", "channel_not_up"]
        assert (await client.get("/healthz")).status_code == 200

    with_client(tmp_path, ask)


def test_not_ready_when_the_store_does_not_write_and_asked_once_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fails(run: object) -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailable("the disk is full")

    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> None:
        monkeypatch.setattr("engine.web.probes.PROBE_SECONDS", 1000.0)
        monkeypatch.setattr(runtime.store, "act", fails)
        for _ in range(20):
            assert valid(await client.get("/readyz"), "/readyz")["reasons"] == ["store_not_writable"]

    with_client(tmp_path, ask)
    assert tries == 1


def test_readiness_writes_to_the_store(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> Any:
        await client.get("/readyz")
        return await runtime.store.read(
            lambda c: c.execute("SELECT count(*) FROM site WHERE name = 'probed_at'").fetchone()
        )

    assert with_client(tmp_path, ask) == (1,)


def test_metrics_count_and_name_no_patient(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> str:
        await deliver(runtime.store, await keep(runtime.store))
        await keep(runtime.store, "C2")
        return (await client.get("/metrics")).text

    text = with_client(tmp_path, ask)
    assert 'interlock_deliveries{channel="lab",destination="ehr",state="queued"} 1.0' in text
    assert 'interlock_conservation_gap{channel="lab"} 0.0' in text
    assert 'interlock_oldest_delivery_seconds{channel="lab",destination="ehr"}' in text
    assert "interlock_ready 1.0" in text
    assert "Willow" not in text
    assert "P1" not in text


def test_a_row_that_vanishes_shows_in_the_metrics(tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient, runtime: FakeRuntime) -> str:
        await keep(runtime.store)
        await runtime.store.act(lambda t: t.connection.execute("DELETE FROM message").rowcount)
        return (await client.get("/metrics")).text

    assert 'interlock_conservation_gap{channel="lab"} 1.0' in with_client(tmp_path, ask)


# the server


def test_the_server_answers_on_any_free_port_and_stops(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, token):
            server = HttpServer(build_app(runtime), "127.0.0.1", 0)
            await server.start()
            async with httpx.AsyncClient(base_url=server.url) as client:
                assert (await client.get("/healthz")).json()["status"] == "ok"
                assert (await client.get("/v1/channels")).status_code == 401
                allowed = await client.get("/v1/channels", headers={"Authorization": f"Bearer {token}"})
                assert allowed.status_code == 200
                assert "server" not in allowed.headers
            second = HttpServer(build_app(runtime), "127.0.0.1", server.port)
            with pytest.raises(Configuration, match="listening for HTTP"):
                await second.start()
            await server.stop()
            await server.stop()
            async with httpx.AsyncClient(base_url=server.url) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get("/healthz")

    asyncio.run(run())


def test_no_request_is_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        async with open_runtime(tmp_path) as (runtime, _):
            server = HttpServer(build_app(runtime), "127.0.0.1", 0)
            await server.start()
            async with httpx.AsyncClient(base_url=server.url) as client:
                await client.get("/v1/messages?patient=P1")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"Willow is no HTTP\r\n\r\n")
            await reader.read()
            writer.close()
            await server.stop()

    asyncio.run(run())
    out, err = capfd.readouterr()
    assert out + err == ""
