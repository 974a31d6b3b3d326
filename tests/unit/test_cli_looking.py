"""Searching, tracing, accounting and dead letters on a store that no server holds."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.model import DeliveryState, show_id
from engine.store.sqlite import SqliteStore, lock_folder, open_store
from tests.unit.cli_help import Cli
from tests.unit.web_help import deliver, keep

NOWHERE = "0000000000000"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def with_store(folder: Path, work: Callable[[SqliteStore], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = open_store(folder, "", SystemClock(), asyncio.get_running_loop())
        try:
            await store.know("site")
            return await work(store)
        finally:
            store.close()

    return asyncio.run(run())


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, str]:
    """One message delivered, one whose delivery is held: their ids by name."""

    async def work(store: SqliteStore) -> dict[str, str]:
        done, stuck = await keep(store, "DONE", "P1"), await keep(store, "STUCK", "P2")
        await deliver(store, done)
        assert await store.put_aside(stuck.deliveries[0], DeliveryState.HELD, "unmapped")
        ids = {"done": done.verdict.message, "stuck": stuck.verdict.message, "delivery": stuck.deliveries[0].id}
        return {name: show_id(number) for name, number in ids.items()}

    found: dict[str, str] = with_store(tmp_path, work)
    return found


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["stuck", "done"]),
        (["--state", "held"], ["stuck"]),
        (["--state", "delivered"], ["done"]),
        (["--control-id", "DONE"], ["done"]),
        (["--patient", "P2"], ["stuck"]),
        (["--type", "ORU", "--channel", "lab", "--since", "1h"], ["stuck", "done"]),
        (["--type", "ADT"], []),
        (["--until", "1h"], []),
        (["--limit", "1"], ["stuck"]),
    ],
)
def test_search_finds_by_every_term(
    cli: Cli, tmp_path: Path, stored: dict[str, str], words: list[str], names: list[str]
) -> None:
    ran = cli("search", *words, "--data", tmp_path, "--json")
    assert ran.status == 0
    assert [message["id"] for message in ran.json["messages"]] == [stored[name] for name in names]
    shown = cli("search", *words, "--data", tmp_path)
    assert all(stored[name] in shown.out for name in names)
    assert f"{len(names)} messages" in shown.err


def test_a_patients_identifier_can_stay_out_of_the_history(
    cli: Cli, tmp_path: Path, stored: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("P1\n"))
    ran = cli("search", "--patient", "-", "--data", tmp_path, "--json")
    assert [message["id"] for message in ran.json["messages"]] == [stored["done"]]


@pytest.mark.parametrize("words", [["--state", "x"], ["--limit", "0"], ["--since", "soon"], ["--before", "1"]])
def test_a_term_that_cannot_be_read_is_wrong_use(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    assert cli("search", *words, "--data", tmp_path).status == 2


def test_a_trace_shows_the_whole_way(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    ran = cli("trace", stored["done"], "--data", tmp_path)
    assert ran.status == 0
    for word in ("received", "kept", "every message", "claimed", "loinc@1", "revision abc", "answered", "delivered"):
        assert word in ran.out
    assert "PID|1||P1^^^INTERLOCK-TEST^MR||Willow^Wendy" in ran.out.replace("\n", " ")
    assert '"resourceType": "Bundle"' in ran.out
    assert "transaction-response" in ran.out


def test_a_trace_by_fields_names_them(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    out = cli("trace", stored["done"], "--fields", "--data", tmp_path).out
    assert "OBX-3" in out
    assert "Observation Identifier" in out


def test_a_trace_as_json_and_without_payloads(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    whole = cli("trace", stored["done"], "--data", tmp_path, "--json").json
    assert whole["raw"].startswith("MSH|")
    assert whole["deliveries"][0]["tries"][0]["code"] == "200"
    closed = cli("trace", stored["done"], "--no-payloads", "--data", tmp_path, "--json")
    assert closed.json["raw"] is None
    assert "Willow" not in closed.out


def test_an_id_that_is_none_is_wrong_use_and_one_of_nothing_is_no(
    cli: Cli, tmp_path: Path, stored: dict[str, str]
) -> None:
    assert cli("trace", "x", "--data", tmp_path).status == 2
    assert cli("trace", NOWHERE, "--data", tmp_path).status == 1


def test_the_balance_closes_and_a_row_that_vanishes_opens_it(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    closed = cli("balance", "--data", tmp_path, "--json")
    assert closed.status == 0
    assert closed.json["open"] is False
    assert "closes" in cli("balance", "--data", tmp_path).out
    with sqlite3.connect(tmp_path / "interlock.db") as connection:
        connection.execute("DELETE FROM message WHERE id = (SELECT min(id) FROM message)")
    connection.close()
    opened = cli("balance", "--data", tmp_path, "--json")
    assert opened.status == 1
    assert opened.json["open"] is True
    assert "OPEN: " in cli("balance", "--data", tmp_path).out


def test_where_no_store_is_the_answer_is_no_with_advice(cli: Cli, tmp_path: Path) -> None:
    for words in (["search"], ["balance"], ["trace", NOWHERE], ["deadletter", "list"], ["backup", tmp_path / "b"]):
        ran = cli(*words, "--data", tmp_path / "none")
        assert ran.status == 1
        assert "--data" in ran.err
    assert not (tmp_path / "none").exists()


def test_dead_letters_are_listed_shown_and_replayed_without_a_server(
    cli: Cli, tmp_path: Path, stored: dict[str, str]
) -> None:
    (letter,) = cli("deadletter", "list", "--data", tmp_path, "--json").json["letters"]
    assert (letter["id"], letter["state"], letter["reason"]) == (stored["delivery"], "held", "unmapped")
    assert stored["delivery"] in cli("deadletter", "list", "--state", "held", "--data", tmp_path).out
    assert "unmapped" in cli("deadletter", "show", stored["delivery"], "--data", tmp_path).out
    ran = cli("deadletter", "replay", stored["delivery"], "--reason", "mapped now", "--data", tmp_path, "--json")
    assert (ran.status, ran.json["code"]) == (0, "replayed")
    assert cli("deadletter", "list", "--data", tmp_path, "--json").json["letters"] == []
    events = cli("trace", stored["stuck"], "--data", tmp_path, "--json").json["deliveries"][0]["events"]
    assert "mapped now" in str(events[-1]["details"])
    again = cli("deadletter", "replay", stored["delivery"], "--reason", "again", "--data", tmp_path)
    assert again.status == 1


def test_an_act_needs_a_reason(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    assert cli("deadletter", "end", stored["delivery"], "--data", tmp_path).status == 2
    assert cli("deadletter", "end", stored["delivery"], "--reason", " ", "--data", tmp_path).status == 2


def test_open_items_are_listed(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    (item,) = cli("deadletter", "list", "--items", "--data", tmp_path, "--json").json["items"]
    assert (item["code"], item["count"], item["message"]) == ("unmapped", 1, stored["done"])


def test_the_head_of_a_lane_is_skipped_with_a_reason(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    words = ("channel", "skip", "lab", "--destination", "ehr", "--data", tmp_path)
    assert cli(*words, "--reason", "").status == 2
    ran = cli(*words, "--reason", "on paper", "--json")
    assert (ran.status, ran.json["delivery"], ran.json["message"]) == (0, stored["delivery"], stored["stuck"])
    assert cli(*words, "--reason", "again").status == 1
    assert cli("balance", "--data", tmp_path).status == 0


def test_several_standing_lanes_are_named_and_one_is_chosen(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    async def work(store: SqliteStore) -> str:
        third = await keep(store, "THIRD", "P3")
        assert await store.put_aside(third.deliveries[0], DeliveryState.HELD, "unmapped")
        return show_id(third.deliveries[0].id)

    third = with_store(tmp_path, work)
    words = ("channel", "skip", "lab", "--destination", "ehr", "--reason", "paper", "--data", tmp_path)
    ran = cli(*words)
    assert ran.status == 1
    assert third in ran.err
    assert cli(*words, "--delivery", third, "--json").json["delivery"] == third


def test_a_command_that_changes_something_waits_for_no_lock(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    import os

    lock = lock_folder(tmp_path)
    try:
        ran = cli("channel", "skip", "lab", "--destination", "ehr", "--reason", "paper", "--data", tmp_path)
    finally:
        os.close(lock)
    assert ran.status == 1
    assert stored["delivery"] in cli("deadletter", "list", "--data", tmp_path).out


def test_backup_and_restore(cli: Cli, tmp_path: Path, stored: dict[str, str]) -> None:
    ran = cli("backup", tmp_path / "b", "--include-key", "--data", tmp_path, "--json")
    assert ran.status == 0
    assert json.loads(ran.out)["files"].keys() == {"interlock.db", "interlock.key"}
    assert cli("backup", tmp_path / "b", "--data", tmp_path).status == 1
    assert cli("restore", tmp_path / "b", "--data", tmp_path / "back", "--json").status == 0
    assert cli("balance", "--data", tmp_path / "back").status == 0
    assert cli("restore", tmp_path / "b", "--data", tmp_path / "back").status == 1
