"""The pool converts as the engine itself does, and only with the wiring, code and tables that are live here."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from engine import registry
from engine.bench.messages import control_id, new_tag, patient, table, template
from engine.channels.checks import Known
from engine.channels.site import read_site
from engine.conversions import frames
from engine.conversions.child import _environment
from engine.conversions.pool import ConversionFailed
from engine.errors import Held
from engine.large import LARGE_BYTES
from engine.model import Converted, Finding
from engine.ports import Running
from engine.rehearsal.cases import cases
from engine.transform import transform
from engine.wiring import Channel, DestinationSpec, MapRule
from mappings.lookup import CodeTables
from mappings.rules import apply_maps
from tests.building import channel, path, read_channel, spec
from tests.conversion_pools import (
    HERE,
    convert,
    make_converter,  # noqa: F401
    message,
    on_tables,
    pids,
    pool,
    renamed,
    running,
    until,
)

ROOT = Path(__file__).parents[2]
TABLES = CodeTables()
SITE = read_site(ROOT / "channels", Known(tables=set(TABLES.names()), environ={"LEE_EHR_TOKEN": "x"}))

BENCH = """\
name = "bench"
title = "Bench"
class = "result"
environment = "test"
[source]
listen = "memory://in"
[[map]]
field = "OBX-3"
table = "bench-loinc"
[[destination]]
name = "sink"
to = "memory://out"
convert = "mappings.hl7v2_fhir:transaction"
"""


def here(raw: bytes, line: Running, spec: DestinationSpec, tables: CodeTables) -> Converted | tuple[str, ...]:
    """What the conversion in this process gives: its output, or how it is held or fails."""
    try:
        return transform(raw, line, spec, tables, apply_maps, 1)
    except Held as error:
        return ("held", error.code, error.text, error.where, error.advice)
    except Exception:
        return ("failed",)


async def there(made: object, raw: bytes, line: Running, spec: DestinationSpec) -> Converted | tuple[str, ...]:
    """What the pool gives."""
    try:
        return await made.convert(raw, line, spec, 1)  # type: ignore[attr-defined,no-any-return]
    except Held as error:
        return ("held", error.code, error.text, error.where, error.advice)
    except ConversionFailed:
        return ("failed",)


# frames


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_frames_come_whole_however_they_are_cut(size: int) -> None:
    sent = [(b'["a"]', b""), (b'["b",1]', b"x" * 300), (b"[]", b"\0")]
    stream = b"".join(b"".join(frames.frame(frames.orjson.loads(small), payload)) for small, payload in sent)
    reader = frames.Frames()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [found for piece in pieces for found in reader.feed(piece)] == sent


@pytest.mark.parametrize("wiring", [*SITE.channels.values(), channel(spec("a", when={"abnormal": ("HH", "LL")}))])
def test_a_channel_goes_over_whole(wiring: Channel) -> None:
    shown = frames.orjson.loads(frames.orjson.dumps(frames.show_channel(wiring)))
    assert frames.read_channel(shown) == frames.dataclasses.replace(wiring, text="")


def test_an_output_goes_over_whole() -> None:
    converted = Converted(b"\0\xff", "a/b", (Finding("unmapped", "OBX-3", "text", "K", "loinc"),), {"t": "1"}, {"P": 2})
    small, payload = frames.show_converted(converted, "code", "tables")
    [(small, payload)] = frames.Frames().feed(small + payload)
    assert frames.read_answer(small, payload) == frames.Answered(("code", "tables"), converted)


def test_children_get_the_search_path_and_no_settings() -> None:
    made = _environment({"INTERLOCK_KEY": "secret", "INTERLOCK_STORE": "postgresql://x", "PATH": "/bin"})
    assert made.keys() == {"PATH", "PYTHONPATH"} and str(ROOT) in made["PYTHONPATH"]


# the same as in the process


def test_every_case_of_the_shipped_channels_comes_out_the_same() -> None:
    async def story() -> int:
        compared = 0
        async with pool() as made:
            for wiring in SITE.channels.values():
                line = registry.running(wiring)
                for case in cases(wiring):
                    for one in wiring.destinations:
                        raw = case.raw()
                        assert await there(made, raw, line, one) == here(raw, line, one, TABLES), (case.name, one.name)
                        compared += bool(one.convert)
            assert not made.children[0].unfit and made.children[0].answered
        return compared

    assert asyncio.run(story()) >= 10


def test_many_at_once_come_out_the_same_and_each_to_its_own(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "channel.toml").write_text(BENCH)
    folder = tmp_path / "tables"
    folder.mkdir()
    with (folder / "bench-loinc.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("local_code", "code", "display", "system"), *table()])
    tables, tag, made_of = CodeTables([folder]), new_tag(7), template()
    line = registry.running(read_channel(tmp_path / "bench", Known(tables=set(tables.names()))))
    [sink] = line.channel.destinations
    ids = [control_id(tag, number) for number in range(300)]
    raws = [(made_of % (name, patient(at % 9), name, at // 10, at % 10))[1:-2] for at, name in enumerate(ids)]
    grown = raws[0] + b"NTE|1||" + b"n" * LARGE_BYTES + b"\r"

    async def story() -> list[Converted | tuple[str, ...]]:
        async with pool(2, folders=(folder,)) as made:
            found = await asyncio.gather(*(there(made, raw, line, sink) for raw in [*raws, grown]))
            assert all(child.answered and not child.unfit for child in made.children)
            return found

    assert asyncio.run(story()) == [here(raw, line, sink, tables) for raw in [*raws, grown]]


def test_what_only_maps_change_stays_here_until_it_is_large(tmp_path: Path) -> None:
    line = registry.running(channel(maps=(MapRule("OBX-3", "pool-test", "pass"),)))
    large = message() + b"NTE|1||" + b"n" * LARGE_BYTES + b"\r"

    async def story() -> None:
        async with pool(folders=(on_tables(tmp_path / "tables", "1-1"),)) as made:
            assert b"1-1" in (await made.convert(message(), line, spec(), 1)).payload
            assert not made.children[0].answered
            assert b"1-1" in (await made.convert(large, line, spec(), 1)).payload
            assert made.children[0].answered

    asyncio.run(story())


# what a converter raises


def test_a_hold_keeps_its_words(converter: str) -> None:
    async def story() -> None:
        async with pool() as made:
            with pytest.raises(Held) as raised:
                await convert(made, running(converter), "HOLD")
            error = raised.value
            assert (error.text, error.code) == ("a person must look", "held_by_site")
            assert (error.where, error.advice) == ("PID-3", "Look.")

    asyncio.run(story())


@pytest.mark.parametrize(("deed", "name"), [("RAISE", "ValueError"), ("LEAVE", "SystemExit")])
def test_an_exception_is_told_by_type_and_place(
    converter: str, deed: str, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with pool() as made:
            with pytest.raises(ConversionFailed, match=f"^{name}$"):
                await convert(made, running(converter), deed)
            assert await convert(made, running(converter)) in pids(made)

    with caplog.at_level("INFO", logger="interlock"):
        asyncio.run(story())
    [told] = [record for record in caplog.records if record.message == "conversion_raised"]
    assert told.fields["error"] == name and ".py:" in told.fields["where"]  # type: ignore[attr-defined]
    assert "TESTER" not in str(told.fields) and "TESTER" not in "".join(capfd.readouterr())  # type: ignore[attr-defined]


def test_what_a_converter_prints_disturbs_nothing(converter: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with pool() as made:
            assert await convert(made, running(converter), "SPEAK") in pids(made)

    asyncio.run(story())
    assert capfd.readouterr().out == ""


# what is live


def test_a_new_revision_is_told(converter: str) -> None:
    async def story() -> None:
        async with pool() as made:
            line = running(converter)
            assert await convert(made, line) in pids(made)
            other = running("tests.unit.test_conversions:second")
            assert await convert(made, renamed(other, "r2")) == b"second"
            assert await convert(made, line) in pids(made)
            assert not made.children[0].unfit

    asyncio.run(story())


def second(parsed: object, tables: object, context: object) -> Converted:
    """Another converter."""
    return Converted(b"second")


def test_other_code_in_the_child_is_not_used(converter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file was edited after this process had read it: the engine goes on with what it has."""
    line = running(converter)
    module = tmp_path / f"{converter.partition(':')[0]}.py"
    module.write_text(module.read_text().replace('b"%d" % os.getpid()', 'b"edited"'))

    async def story() -> None:
        async with pool() as made:
            assert await convert(made, line) == HERE
            assert await convert(made, line) == HERE
            assert made.children[0].unfit == {"lab"}

    with caplog.at_level("INFO", logger="interlock"):
        asyncio.run(story())
    assert [record.message for record in caplog.records].count("child_unfit") == 1


def test_a_converter_that_the_child_cannot_import_runs_here(converter: str, tmp_path: Path) -> None:
    line = running(converter)
    (tmp_path / f"{converter.partition(':')[0]}.py").unlink()

    async def story() -> None:
        async with pool() as made:
            assert await convert(made, line) == HERE

    asyncio.run(story())


def test_tables_that_are_not_live_here_are_not_used(converter: str, tmp_path: Path) -> None:
    """Edited on the disk, they count once they are reloaded: a child that read them before is not asked."""
    folder, line = on_tables(tmp_path / "tables", "1-1"), running(converter)

    async def story() -> None:
        async with pool(folders=(folder,)) as made:
            assert await convert(made, line) in pids(made)
            on_tables(folder, "2-2")
            await _replaced(made.children[0].kill, made)
            assert await convert(made, line) == HERE
            made._tables.reload()
            made.tables_changed()
            assert await convert(made, line) in pids(made)

    asyncio.run(story())


def test_a_reload_of_tables_reaches_the_children(converter: str, tmp_path: Path) -> None:
    folder, line = on_tables(tmp_path / "tables", "1-1"), running(converter)

    async def story() -> None:
        async with pool(folders=(folder,)) as made:
            on_tables(folder, "2-2")
            made._tables.reload()
            made.tables_changed()
            assert await convert(made, line) in pids(made)
            (folder / "pool-test.csv").write_text("broken\n")  # the children cannot read it, the engine did not
            made.tables_changed()
            assert await convert(made, line) in pids(made)

    asyncio.run(story())


async def _replaced(kill: object, made: object) -> None:
    before = pids(made)  # type: ignore[arg-type]
    kill()  # type: ignore[operator]
    await until(lambda: made.children and not pids(made) & before)  # type: ignore[attr-defined,arg-type]


# the path


@pytest.mark.usefixtures("both_stores")
def test_the_path_with_two_children(converter: str, tmp_path: Path) -> None:
    """What is held is held, what raises is dead, the rest is delivered in the order of its lane."""
    deeds = ["P1", "HOLD", "P2", "RAISE", *[f"P{number % 3}" for number in range(30)]]
    wiring = channel(spec(convert=converter))

    async def story() -> None:
        async with pool(2) as made, path(tmp_path, wiring) as line:
            line.running = registry.running(wiring)
            line.worker.outlets["lab", "ehr"].running = line.running
            line.ports.convert = made.convert
            for number, deed in enumerate(deeds):
                assert (await line.send(message(deed).replace(b"|C1|", b"|C%d|" % number))).positive
            await line.quiet()
            states = await line.states()
            assert (states.count("delivered"), states[1], states[3]) == (len(deeds) - 2, "held", "dead")
            reasons = await line.rows("SELECT reason FROM delivery WHERE state IN ('held', 'dead') ORDER BY id")
            assert reasons == [("held_by_site",), ("converter_failed",)]
            assert set(line.destinations["ehr"].received) <= pids(made)

    asyncio.run(asyncio.wait_for(story(), 60))
