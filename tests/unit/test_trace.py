"""A trace shows the whole way of a message: rows, attempts, events, and what was sealed, opened."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import NotFound, UnsafeStore, Weight
from engine.model import Attempt, DeliveryState, Outcome, show_id
from engine.store import acts
from engine.store.open_read import Reader, open_for_reading
from engine.store.sqlite import SqliteStore
from engine.trace import trace
from engine.trace_fields import named_fields
from tests import stores

pytestmark = pytest.mark.usefixtures("both_stores")


@pytest.fixture
def told(both_stores: str, tmp_path: Path) -> tuple[Reader, int, int]:
    """A delivery that was in doubt, sent again, died, and was replayed; a duplicate of its message."""

    async def work(store: SqliteStore) -> tuple[int, int]:
        delivery = await stores.keep_one(store, "1")
        first = await stores.claim(store, delivery)
        await stores.settle(store, first, DeliveryState.IN_DOUBT, Outcome("answer_timeout", Weight.AMBIGUOUS))
        second = Attempt(
            store.ids.next(), delivery, 2, store.now(), first.output, first.content_type, "r2", "loinc@2",
            repeats=first.id,
        )  # fmt: skip
        assert await store.claim(second)
        delivery.attempt = second.id
        refusal = Outcome("AE 207", Weight.PERMANENT, answer=b"MSA|AE|1")
        await stores.settle(store, second, DeliveryState.DEAD, refusal)
        await store.act(partial(acts.replay_delivery, number=delivery.id, reason="mended", actor="maria"))
        await stores.keep(store, "1")
        return delivery.message, delivery.id

    message, delivery = stores.run(tmp_path, work)
    return stores.reading(tmp_path), message, delivery


def test_it_tells_everything(told: tuple[Reader, int, int]) -> None:
    reader, message, delivery = told
    found = trace(reader.connection, reader, message)
    assert found == trace(reader.connection, reader, delivery)
    assert found.raw is not None and found.raw.startswith(b"MSH|")
    assert [row.state for row in found.successors] == ["duplicate"]
    (sent,) = found.deliveries
    assert (sent.row.rule, sent.row.seq, sent.row.state) == ("no condition", 1, "queued")
    assert [(a.row.number, a.row.code, a.repeats) for a in sent.attempts] == [
        (1, "answer_timeout", False),
        (2, "AE 207", True),
    ]
    assert sent.attempts[0].output == sent.attempts[1].output == b'{"resourceType":"Bundle"}'
    assert sent.attempts[1].answer == b"MSA|AE|1"
    assert [event.kind for event in sent.events] == ["in doubt", "dead", "replayed"]
    assert sent.events[-1].details == ("mended", "maria")
    reader.close()


def test_a_duplicate_names_its_original(told: tuple[Reader, int, int]) -> None:
    reader, message, _ = told
    duplicate = trace(reader.connection, None, message).successors[0]
    found = trace(reader.connection, reader, duplicate.id)
    assert found.original is not None and found.original.id == message and found.raw is None
    reader.close()


def test_without_an_opener_nothing_sealed_is_opened(told: tuple[Reader, int, int]) -> None:
    reader, message, _ = told
    found = trace(reader.connection, None, message)
    assert found.raw is None
    assert all(a.output is None and a.answer is None for d in found.deliveries for a in d.attempts)
    reader.close()


def test_it_is_json(told: tuple[Reader, int, int]) -> None:
    reader, message, delivery = told
    shown = orjson.loads(orjson.dumps(trace(reader.connection, reader, message).as_dict()))
    assert shown["message"]["id"] == show_id(message)
    assert shown["deliveries"][0]["id"] == show_id(delivery)
    assert shown["deliveries"][0]["tries"][1]["repeats"] == shown["deliveries"][0]["tries"][0]["id"]
    reader.close()


def test_nothing_of_an_unknown_id(told: tuple[Reader, int, int]) -> None:
    reader, _, _ = told
    with pytest.raises(NotFound):
        trace(reader.connection, reader, 7)
    reader.close()


def test_fields_have_their_names() -> None:
    fields = {field.path: field for field in named_fields(b"MSH|^~\\&|A|B|C|D|||ORU^R01|1|T|2.5.1\rOBX|1|ST\rOBX|2|NM")}
    assert fields["MSH-10"].value == "1" and fields["MSH-10"].name == "Message Control ID"
    assert fields["OBX[2]-2"].value == "NM"
    assert "MSH-7" not in fields
    assert named_fields(b"no message") == []


def test_reading_beside_a_server_and_after_it(tmp_path: Path) -> None:
    def both(delivery: int) -> int:
        reader = stores.reading(tmp_path)
        try:
            assert trace(reader.connection, reader, delivery).raw
            asyncio.run_coroutine_threadsafe(stores.keep(serving[0], "2"), loop[0]).result(10)
            return int(reader.connection.execute("SELECT count(*) FROM message").fetchone()[0])
        finally:
            reader.close()

    async def work(store: Any) -> None:
        serving.append(store)
        loop.append(asyncio.get_running_loop())
        delivery = await stores.keep_one(store, "1")
        assert await asyncio.to_thread(both, delivery.id) == 2

    serving: list[Any] = []
    loop: list[asyncio.AbstractEventLoop] = []
    stores.run(tmp_path, work)
    reader = stores.reading(tmp_path)
    with pytest.raises(NotFound):
        reader.keys("nobody")
    reader.close()


def test_reading_refuses_the_key_of_another_store(tmp_path: Path) -> None:
    stores.run(tmp_path, partial(stores.keep, control="1"))
    with pytest.raises(UnsafeStore, match="does not belong"):
        stores.reading(tmp_path, "A" * 43 + "=")


@stores.SQLITE_ONLY
def test_reading_refuses_a_file_that_is_not_there_or_none_of_sqlite(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_for_reading(tmp_path, "")
    stores.run(tmp_path, partial(stores.keep, control="1"))
    (tmp_path / "interlock.db").write_bytes(b"x" * 4096)
    with pytest.raises(UnsafeStore, match="reading"):
        open_for_reading(tmp_path, "")
