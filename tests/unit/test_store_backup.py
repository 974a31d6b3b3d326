"""A backup is one committed state, taken while messages come in; a restore checks everything and says what it is."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest

from engine.balance import balance
from engine.errors import Conflict, NotFound, UnsafeStore
from engine.recovery import recover
from engine.store import backup as module
from engine.store import migrate
from engine.store.backup import MANIFEST, backup, read_manifest, restore
from engine.store.open_read import open_for_reading
from engine.store.sqlite import DATABASE, KEY_FILE, SqliteStore
from tests import stores


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()

    async def work(store: SqliteStore) -> None:
        await stores.deliver(store, await stores.keep_one(store, "1"))
        await stores.claim(store, await stores.keep_one(store, "2", patient="P2"))
        await stores.keep(store, "3")

    stores.run(folder, work)
    return folder


def taken(folder: Path, target: Path, *, include_key: bool = True) -> module.Manifest:
    return backup(folder, target, stores.StepClock(), include_key=include_key)


def test_a_backup_taken_under_load_is_one_state_that_balances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGES_A_STEP", 2)
    told: list[tuple[int, int]] = []

    async def work(store: SqliteStore) -> int:
        await asyncio.gather(*(stores.keep(store, f"a{n}") for n in range(50)))
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int) -> None:
            told.append((done, total))
            asyncio.run_coroutine_threadsafe(stores.keep(store, f"b{done}"), loop).result()

        call = partial(backup, store.folder, tmp_path / "copy", stores.StepClock(), include_key=True, progress=progress)
        await asyncio.to_thread(call)
        return int((await store.read(lambda c: c.execute("SELECT count(*) FROM message").fetchone()))[0])

    folder = tmp_path / "data"
    folder.mkdir()
    kept = stores.run(folder, work)
    assert len(told) > 3 and told[-1][0] == told[-1][1] and kept == 50 + len(told)
    restore(tmp_path / "copy", tmp_path / "back", "")
    reader = open_for_reading(tmp_path / "back", "")
    assert reader.connection.execute("SELECT count(*) FROM message").fetchone() == (50,)
    assert balance(reader.connection).faults == ()
    reader.close()


def test_after_a_restore_what_was_under_way_is_in_doubt(tmp_path: Path, data: Path) -> None:
    taken(data, tmp_path / "copy")
    manifest = restore(tmp_path / "copy", tmp_path / "back", "")
    assert manifest.taken_at > stores.NOON
    assert sorted(file.name for file in (tmp_path / "back").iterdir()) == [DATABASE, KEY_FILE]
    assert (tmp_path / "back" / KEY_FILE).stat().st_mode & 0o077 == 0
    assert (tmp_path / "back").stat().st_mode & 0o077 == 0

    async def work(store: SqliteStore) -> list[str]:
        await recover(store)
        assert (await store.read(balance)).faults == ()
        return [state for state, _ in (await stores.states(store)).values()]

    assert stores.run(tmp_path / "back", work) == ["delivered", "in doubt", "queued"]


def test_without_the_key_in_it_the_key_must_be_given_and_be_the_right_one(tmp_path: Path, data: Path) -> None:
    taken(data, tmp_path / "copy", include_key=False)
    assert not (tmp_path / "copy" / KEY_FILE).exists()
    with pytest.raises(UnsafeStore, match="key file"):
        restore(tmp_path / "copy", tmp_path / "back", "")
    with pytest.raises(UnsafeStore, match="does not belong"):
        restore(tmp_path / "copy", tmp_path / "back", "A" * 43 + "=")
    assert not (tmp_path / "back").exists()
    restore(tmp_path / "copy", tmp_path / "back", (data / KEY_FILE).read_text().strip())
    assert (tmp_path / "back" / DATABASE).exists()


def test_a_changed_backup_is_not_restored_and_leaves_nothing(tmp_path: Path, data: Path) -> None:
    copy, back = tmp_path / "copy", tmp_path / "back"
    taken(data, copy)
    content = bytearray((copy / DATABASE).read_bytes())
    content[-1] ^= 1
    (copy / DATABASE).write_bytes(content)
    with pytest.raises(UnsafeStore, match="not as it was"):
        restore(copy, back, "")
    (copy / DATABASE).unlink()
    with pytest.raises(NotFound):
        restore(copy, back, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


@pytest.mark.parametrize("text", ["", "{}", '{"schema":1,"taken_at":1,"files":{"../x":"0","interlock.db":"0"}}', "[]"])
def test_what_is_no_backup_is_refused(tmp_path: Path, data: Path, text: str) -> None:
    taken(data, tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST).write_text(text)
    with pytest.raises(NotFound):
        read_manifest(tmp_path / "copy")


def test_nothing_is_overwritten(tmp_path: Path, data: Path) -> None:
    taken(data, tmp_path / "copy")
    with pytest.raises(Conflict):
        taken(data, tmp_path / "copy")
    with pytest.raises(Conflict):
        restore(tmp_path / "copy", data, "")
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "copy", tmp_path / "empty", "")
    with pytest.raises(NotFound):
        taken(tmp_path / "nothing", tmp_path / "other")


def test_a_newer_schema_is_not_restored(tmp_path: Path, data: Path) -> None:
    taken(data, tmp_path / "copy")
    manifest = tmp_path / "copy" / MANIFEST
    newest = migrate.scripts()[-1][0]
    manifest.write_text(manifest.read_text().replace(f'"schema": {newest}', '"schema": 99'))
    with pytest.raises(UnsafeStore, match="99"):
        restore(tmp_path / "copy", tmp_path / "back", "")


def test_a_failure_leaves_no_half_backup(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="no space"):
        taken(data, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
