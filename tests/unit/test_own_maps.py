"""A channel's own maps: read with the channel, checked with file and line, the same in every process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from engine import registry
from engine.channels.checks import Known
from engine.channels.site import inspect_channel
from engine.conversions import frames
from engine.formats.hl7v2 import read
from engine.ports import Conversion
from engine.transform import transform
from mappings.hl7v2_fhir import check_maps, transaction
from mappings.hl7v2_fhir.coverage import coverage
from mappings.hl7v2_fhir.site_maps import maps_of
from mappings.hl7v2_fhir.vocabulary import Json
from mappings.lookup import CodeTables
from mappings.rules import apply_maps
from tests.building import read_channel
from tests.conversion_pools import pool

TABLES = CodeTables()
COLUMNS = "field,when,element,as,using,comment\n"
CHANNEL = """\
name = "own"
title = "Own maps"
class = "message"
environment = "test"
[source]
listen = "memory://in"
[[destination]]
name = "ehr"
to = "memory://out"
convert = "mappings.hl7v2_fhir:transaction"
"""
RELATIVE = COLUMNS + "NK1-2,,,key,,\n,,patient,reference,patient!,\nNK1-2,,name[],names,,\n"
MESSAGE = (
    b"MSH|^~\\&|A|B|||20260105101500-0600||ADT^A01|1|P|2.5\r"
    b"PID|1||4711^^^HOSP^MR||Testmann^Ada||||||||||||||||||||||||||||\r"
    b"NK1|1|Testmann^Bob|SPO|1 Way\rPV1|1|I|W1||||||||||||||||V-1^^^HOSP^VN\rZPD|blue|N\rZVN|hello\r"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A channel without maps."""
    (tmp_path / "own" / "maps").mkdir(parents=True)
    (tmp_path / "own" / "channel.toml").write_text(CHANNEL)
    return tmp_path / "own"


def put(folder: Path, name: str, text: str) -> None:
    (folder / "maps" / name).write_text(text)


def made(own: dict[str, str]) -> tuple[dict[str, Json], dict[str, str]]:
    """The resources by type, and the table revisions."""
    found = transaction(read(MESSAGE), TABLES, Conversion("own", sender="own", maps=own))
    bundle = orjson.loads(found.payload)
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}, dict(found.tables)


def test_a_map_replaces_the_shipped_one_of_its_name_and_says_its_revision() -> None:
    shipped, revisions = made({})
    own, with_own = made({"NK1-RelatedPerson.csv": RELATIVE})
    assert "relationship" in shipped["RelatedPerson"] and "relationship" not in own["RelatedPerson"]
    assert own["RelatedPerson"]["name"] == shipped["RelatedPerson"]["name"]
    assert own["Patient"] == shipped["Patient"]
    assert with_own.keys() - revisions.keys() == {"maps/NK1-RelatedPerson.csv"}
    other = made({"NK1-RelatedPerson.csv": RELATIVE + "NK1-4,,address[],addresses,,\n"})
    assert other[1] != with_own and "address" in other[0]["RelatedPerson"]


@pytest.mark.parametrize(
    ("name", "rows", "kind", "element"),
    [
        ("ZPD-Patient+.csv", "ZPD-1,,extension[],own text,v2-priority,", "Patient", "extension"),
        ("PID-Patient+.csv", "PID-3,,managingOrganization.display,part,,", "Patient", "managingOrganization"),
        ("PV1-Encounter+.csv", "PV1-3,,text.status,part,,", "Encounter", "text"),
        ("NK1-Patient+-more.csv", "NK1-4,,text.status,part,,", "Patient", "text"),
        ("ZVN-Basic.csv", "ZVN-1,,code.text,part,,", "Basic", "code"),
    ],
)
def test_a_map_of_another_name_is_one_more(name: str, rows: str, kind: str, element: str) -> None:
    without, _ = made({})
    found, _ = made({name: COLUMNS + rows + "\n"})
    assert element in found[kind] and element not in without.get(kind, {})


def test_a_map_makes_its_fields_known_to_the_coverage() -> None:
    message = read(MESSAGE)
    own = maps_of({"ZVN-Basic.csv": COLUMNS + "ZVN-1,,code.text,part,,\n"}).maps
    assert "ZVN-1" in coverage(message).unmapped and "ZVN-1" not in coverage(message, own).unmapped


@pytest.mark.parametrize(
    ("name", "text", "line", "said"),
    [
        ("NK1-RelatedPerson.csv", "a,b\n", 1, "the columns of a map are"),
        ("NK1-RelatedPerson.csv", COLUMNS + "NK1-2,,name[],names,,\nNK1-3,,x,nothing,,\n", 3, "no way to make"),
        ("NK1-RelatedPerson.csv", COLUMNS + "NK1-300,,x,part,,\n", 2, "no field of NK1"),
        ("NK1-RelatedPerson.csv", COLUMNS + "NK1-3,,x,code,no-such-table,\n", 2, "nothing that `code` can use"),
        ("relatives.csv", RELATIVE, 1, "named after segment and resource"),
        ("PID-Patient.csv", COLUMNS + "PID-3,,x,part,,\n", 1, "only says what a builder makes"),
        ("OBX-Observation+.csv", COLUMNS + "OBX-3,,x,part,,\n", 1, "no place for one more map of OBX"),
    ],
)
def test_a_fault_is_told_with_file_and_line(folder: Path, name: str, text: str, line: int, said: str) -> None:
    put(folder, name, text)
    channel, faults = inspect_channel(folder, Known())
    assert channel is None
    (fault,) = faults
    assert (fault.file, fault.line) == (str(folder / "maps" / name), line) and said in fault.text
    assert [found.where for found in check_maps({name: text})] == [f"{name}:{line}"]


def test_maps_that_no_conversion_takes_and_text_that_is_none_are_faults(folder: Path) -> None:
    put(folder, "NK1-RelatedPerson.csv", RELATIVE)
    (folder / "channel.toml").write_text(CHANNEL.replace('convert = "mappings.hl7v2_fhir:transaction"\n', ""))
    _, faults = inspect_channel(folder, Known())
    assert [fault.text for fault in faults] == ["no conversion of this channel takes maps"]
    (folder / "channel.toml").write_text(CHANNEL)
    (folder / "maps" / "NK1-RelatedPerson.csv").write_bytes(b"\xff\xfe")
    _, faults = inspect_channel(folder, Known())
    assert [fault.text for fault in faults] == ["the file is not UTF-8"]


def test_maps_belong_to_the_revision_and_go_over_to_a_child(folder: Path) -> None:
    bare = read_channel(folder)
    put(folder, "NK1-RelatedPerson.csv", RELATIVE)
    own = read_channel(folder)
    assert bare.revision != own.revision and own.own_maps == {"NK1-RelatedPerson.csv": RELATIVE}
    shown = orjson.loads(orjson.dumps(frames.show_channel(own)))
    assert frames.read_channel(shown).own_maps == own.own_maps
    assert frames.code_of(bare) != frames.code_of(own)


def test_a_child_converts_by_them_as_the_engine_does(folder: Path) -> None:
    async def story() -> None:
        put(folder, "NK1-RelatedPerson.csv", RELATIVE)
        line = registry.running(read_channel(folder))
        (spec,) = line.channel.destinations
        async with pool() as children:
            there = await children.convert(MESSAGE, line, spec, 1)
            assert children.children[0].answered and not children.children[0].unfit
        here = transform(MESSAGE, line, spec, TABLES, apply_maps, 1)
        assert there == here and "maps/NK1-RelatedPerson.csv" in there.tables

    asyncio.run(story())
