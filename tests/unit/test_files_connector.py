"""Folders: when a file is taken, where it goes, what never happens to it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import observe
from engine.connectors import files, files_folder
from engine.connectors.files import NameRule, outcome_of, read_path
from engine.connectors.files_folder import LocalFolder
from engine.connectors.folder import Entry, FolderSource, Ripening, aside_names, read_rules
from engine.errors import Configuration, Reply, Weight
from engine.knobs import read_options
from engine.model import Answer, Arrival, Outcome, Verdict
from engine.ports import Sending
from engine.wiring import DestinationSpec, SourceSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", "x-application/hl7-v2+er7")
ACCEPT = Verdict(Reply.ACCEPT)
REJECT = Verdict(Reply.REJECT, "not_accepted", "no", where="MSH-9")
LATER = Verdict(Reply.ERROR, "store_unavailable", transient=True)


def test_a_growing_file_ripens_only_when_it_has_been_the_same_for_long_enough() -> None:
    ripening = Ripening("*.hl7", 2.0)
    assert ripening.ripe([Entry("a.hl7", 1, 1)], 0.0) == []
    assert ripening.ripe([Entry("a.hl7", 2, 1)], 2.0) == []  # it grew
    assert ripening.ripe([Entry("a.hl7", 2, 2)], 3.9) == []  # it was written to
    assert ripening.ripe([Entry("a.hl7", 2, 2)], 5.8) == []
    assert ripening.ripe([Entry("a.hl7", 2, 2)], 5.9) == [Entry("a.hl7", 2, 2)]
    assert ripening.ripe([], 6.0) == []
    assert ripening.ripe([Entry("a.hl7", 2, 2)], 9.0) == []  # it was away: it ripens anew


def test_the_oldest_first_then_by_name_and_unfinished_names_never() -> None:
    names = [("b", 2), ("a", 2), ("z", 1), (".hidden", 0), ("x.tmp", 0), ("x.PART", 0), ("..", 0), ("x.filepart", 0)]
    ripe = Ripening("*", 0.0).ripe([Entry(name, 1, modified) for name, modified in names], 0.0)
    assert [entry.name for entry in ripe] == ["z", "a", "b"]


class Path_:
    """What stands behind the source."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts)
        self.taken: list[bytes] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def accept(self, raw: bytes, arrival: Arrival) -> Answer:
        self.taken.append(raw)
        self.meanwhile()
        return Answer(self.verdicts.pop(0) if self.verdicts else ACCEPT)


def look(folder: Path, path: Path_, passes: int = 1, **spec: Any) -> None:
    """Let a source look so many times, without its clock."""

    async def run() -> None:
        options = {"stable": "0s", "every": "1h", **spec.pop("options", {})}
        source = files.source("c", SourceSpec(f"files://{folder}", options=options, **spec))
        assert isinstance(source, FolderSource)
        source._accept = path.accept
        await source._folder.open()
        for _ in range(passes):
            await source._pass()
        await source._folder.close()

    asyncio.run(run())


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_accepted_goes_to_done_refused_to_error_with_the_reason(tmp_path: Path) -> None:
    for number, name in enumerate(("a.hl7", "b.hl7")):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (number, number))
    path = Path_(ACCEPT, REJECT)
    look(tmp_path, path)
    assert path.taken == [b"a.hl7", b"b.hl7"]
    assert names(tmp_path) == ["done/a.hl7", "error/b.hl7", "error/b.hl7.why.json"]
    why = json.loads((tmp_path / "error/b.hl7.why.json").read_bytes())
    assert (why["code"], why["where"]) == ("not_accepted", "MSH-9")
    assert why["advice"]


def test_what_may_come_again_stays_and_keeps_its_place(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (number, number))
    path = Path_(LATER, LATER)
    look(tmp_path, path, passes=3)
    assert path.taken == [b"a", b"a", b"a", b"b"]
    assert names(tmp_path) == ["done/a", "done/b"]


def test_nothing_is_overwritten_in_done(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "done/a.hl7").write_bytes(b"old")
    (tmp_path / "a.hl7").write_bytes(b"new")
    look(tmp_path, Path_())
    assert (tmp_path / "done/a.hl7").read_bytes() == b"old"
    (other,) = (tmp_path / "done").glob("a.*.hl7")
    assert other.read_bytes() == b"new"


def test_above_the_limit_it_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    path = Path_()
    look(tmp_path, path, max_size=10)
    assert path.taken == []
    assert json.loads((tmp_path / "error/big.why.json").read_bytes())["code"] == "too_large"


def test_what_is_refused_for_its_size_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    observe.connector_events.pop(("c", "too_large"), None)
    look(tmp_path, Path_(), passes=2, max_size=10)
    assert observe.connector_events.pop(("c", "too_large")) == 1


def test_a_file_at_which_the_path_breaks_stays_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).write_bytes(b"DOE^JANE" if name == "a" else b"fine")
        os.utime(tmp_path / name, (number, number))
    path = Path_()

    def break_at_first() -> None:
        if path.taken[-1] == b"DOE^JANE":
            raise IndexError("DOE^JANE")

    path.meanwhile = break_at_first
    caplog.set_level("INFO")
    observe.connector_events.pop(("c", "accept_failed"), None)
    look(tmp_path, path, passes=2)
    assert path.taken == [b"DOE^JANE", b"fine", b"DOE^JANE"]
    assert names(tmp_path) == ["a", "done/b"]
    assert observe.connector_events.pop(("c", "accept_failed")) == 2
    [fields, _] = [record.fields for record in caplog.records if record.message == "accept_failed"]  # type: ignore[attr-defined]
    assert (fields["channel"], fields["error"]) == ("c", "IndexError")
    assert "DOE" not in str(fields) + caplog.text


@pytest.mark.parametrize("broken", ["read", "put_aside"])
def test_a_file_that_cannot_be_handled_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (number, number))
    real = getattr(LocalFolder, broken)

    async def fail(folder: LocalFolder, entry: Entry, *more: Any) -> Any:
        if entry.name == "a":
            raise UnicodeError("a defect")
        return await real(folder, entry, *more)

    monkeypatch.setattr(LocalFolder, broken, fail)
    observe.connector_events.pop(("c", "file_failed"), None)
    look(tmp_path, Path_(), passes=2)
    assert names(tmp_path) == ["a", "done/b"]
    assert observe.connector_events.pop(("c", "file_failed")) == 2


def test_the_watch_survives_what_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, looks = LocalFolder.entries, 0

    async def entries(folder: LocalFolder) -> list[Entry]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a defect")
        return await real(folder)

    async def run() -> None:
        taken = asyncio.Event()

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            taken.set()
            return Answer(ACCEPT)

        source = files.source("c", SourceSpec(f"files://{tmp_path}", options={"stable": "0s", "every": "1ms"}))
        await source.start(accept)
        await asyncio.wait_for(taken.wait(), 10)
        await source.stop()

    (tmp_path / "a").write_bytes(b"a")
    monkeypatch.setattr(LocalFolder, "entries", entries)
    asyncio.run(run())


def test_a_file_arrives_when_the_clock_says(tmp_path: Path) -> None:
    arrivals: list[int] = []

    class Clock:
        def now(self) -> int:
            return 77

    async def run() -> None:
        spec = SourceSpec(f"files://{tmp_path}", options={"stable": "0s"})
        rules = read_rules(spec, read_options(spec.options, files.SOURCE_KNOBS, "c"), "c")
        source = FolderSource("c", LocalFolder(tmp_path, (rules.done, rules.error), "c"), rules, "files:", Clock())

        async def accept(raw: bytes, arrival: Arrival) -> Answer:
            arrivals.append(arrival.at)
            return Answer(ACCEPT)

        source._accept = accept
        await source._folder.open()
        await source._pass()
        await source._folder.close()

    (tmp_path / "a").write_bytes(b"a")
    asyncio.run(run())
    assert arrivals == [77]


def test_links_pipes_and_folders_are_never_taken(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    (inbox / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (inbox / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(inbox / "pipe")
    path = Path_()
    look(inbox, path)
    assert path.taken == []
    assert (inbox / "link").is_symlink()


def test_a_file_that_becomes_a_link_before_it_is_read_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/hostname")
    folder = LocalFolder(tmp_path, (), "c")

    async def run() -> bytes | None:
        await folder.open()
        try:
            return await folder.read(Entry("a", 1, 1))
        finally:
            await folder.close()

    assert asyncio.run(run()) is None


@pytest.mark.parametrize("way", ["replace", "append"])
def test_what_came_after_it_was_read_is_offered_too(tmp_path: Path, way: str) -> None:
    path = Path_()
    (tmp_path / "a").write_bytes(b"first")

    def change() -> None:
        path.meanwhile = lambda: None
        if way == "replace":
            (tmp_path / "new").write_bytes(b"second")
            (tmp_path / "new").rename(tmp_path / "a")
        else:
            with (tmp_path / "a").open("ab") as file:
                file.write(b", second")

    path.meanwhile = change
    look(tmp_path, path, passes=2)
    assert path.taken == [b"first", b"second" if way == "replace" else b"first, second"]
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_after_a_failed_move_only_the_move_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"once")
    path = Path_()
    real, calls = os.rename, 0

    def rename(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, "broken")
        real(*args, **kwargs)

    async def run() -> None:
        source = files.source("c", SourceSpec(f"files://{tmp_path}", options={"stable": "0s"}))
        assert isinstance(source, FolderSource)
        source._accept = path.accept
        await source._folder.open()
        monkeypatch.setattr(files_folder.os, "rename", rename)
        with pytest.raises(OSError, match="broken"):
            await source._pass()
        await source._pass()
        await source._folder.close()

    asyncio.run(run())
    assert (path.taken, (tmp_path / "a").exists()) == ([b"once"], False)


def test_a_folder_is_watched_by_one_source_only(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = (files.source("c", SourceSpec(f"files://{tmp_path}")) for _ in range(2))
        await first.start(Path_().accept)
        with pytest.raises(Configuration):
            await second.start(Path_().accept)
        await first.stop()

    asyncio.run(run())


def test_folders_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    for options in ({"done": "../out"}, {"error": "/tmp"}, {"done": ".x"}, {"done": "error"}, {"done": ""}):
        with pytest.raises(Configuration):
            files.source("c", SourceSpec(f"files://{tmp_path}", options=options))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/done").symlink_to(tmp_path)
    with pytest.raises(Configuration):
        look(tmp_path / "in", Path_())
    with pytest.raises(Configuration):
        look(tmp_path / "missing", Path_())


def test_urls() -> None:
    assert read_path("files:///a/b%20c", "c") == Path("/a/b c")
    assert read_path("files:inbox/x", "c") == Path.cwd() / "inbox/x"
    for url in ("files://host/a", "files:", "file:///a", "files:///a?b", "files:///a#b"):
        with pytest.raises(Configuration):
            read_path(url, "c")


def test_long_names_leave_room_for_what_is_added() -> None:
    assert all(len(name) + len(".why.json") < 255 for name in aside_names("x" * 255))


def deliver(folder: Path, payload: bytes = b"new", sending: Sending = SENDING, **options: Any) -> Outcome:
    destination = files.destination("c", DestinationSpec("d", f"files://{folder}", options=options))
    return asyncio.run(destination.deliver(payload, sending))


def test_a_delivery_is_one_file_and_a_resend_is_the_same(tmp_path: Path) -> None:
    assert deliver(tmp_path) == Outcome("written")
    assert deliver(tmp_path) == Outcome("present")
    assert names(tmp_path) == ["00000000000ab.hl7"]
    assert deliver(tmp_path, b"other").code == "name_taken"
    assert (tmp_path / "00000000000ab.hl7").read_bytes() == b"new"


def test_a_link_under_the_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"new")
    (tmp_path / "00000000000ab.hl7").symlink_to("target")
    assert deliver(tmp_path).code == "name_taken"


def test_what_a_crash_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".00000000000ab.hl7.1.tmp").write_bytes(b"half")
    assert deliver(tmp_path).taken
    assert names(tmp_path) == ["00000000000ab.hl7"]


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_transient_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, "injected")

    monkeypatch.setattr(os, call, fail)
    assert deliver(tmp_path).weight is Weight.TRANSIENT
    assert names(tmp_path) == []


def test_faults_of_the_folder_have_their_classes(tmp_path: Path) -> None:
    missing = deliver(tmp_path / "missing")
    assert (missing.code, missing.unreachable) == ("folder_missing", True)
    denied = outcome_of(PermissionError(errno.EACCES, ""))
    assert (denied.weight, bool(denied.detail)) == (Weight.PERMANENT, True)


def test_names_come_from_ids_only() -> None:
    assert NameRule("{channel}-{message}-{attempt}.txt", "c").name(SENDING) == "c-0000000000001-1.txt"
    kinds = {"application/fhir+json": ".json", "application/xml": ".xml", "application/octet-stream": ".hl7"}
    for kind, ending in kinds.items():
        sending = Sending("m", "d", 1, "c", "x", kind)
        assert NameRule("", "c").name(sending) == f"d{ending}"
    assert "/" not in NameRule("{channel}{delivery}", "c").name(Sending("m", "../../x", 1, "c", "d"))


@pytest.mark.parametrize("template", ["x.hl7", "{delivery", "{delivery.__class__}", "{delivery!r}", "{delivery:>9}"])
def test_templates_that_say_more_are_faults(template: str) -> None:
    with pytest.raises(Configuration):
        NameRule(template, "c")


@pytest.mark.parametrize("template", ["../{delivery}", "a/{delivery}", ".{delivery}", "{patient}{delivery}", "{}"])
def test_templates_that_lead_elsewhere_are_faults(template: str) -> None:
    with pytest.raises(Configuration):
        NameRule(template, "c")


def test_ask_looks_at_the_file(tmp_path: Path) -> None:
    destination = files.destination("c", DestinationSpec("d", f"files://{tmp_path}"))
    absent = asyncio.run(destination.ask(b"new", SENDING))
    assert absent is not None and (absent.code, absent.weight) == ("absent", Weight.TRANSIENT)
    deliver(tmp_path)
    present = asyncio.run(destination.ask(b"new", SENDING))
    assert present is not None and present.taken
    assert asyncio.run(destination.ask(b"other", SENDING)) is None
