"""The channels that come with Interlock have no error, do not get in each other's way, and pass their own cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.channels.checks import Known
from engine.channels.site import read_site
from engine.rehearsal.cases import cases
from engine.rehearsal.rehearse import Parts, rehearse
from mappings.lookup import CodeTables
from mappings.rules import apply_maps

ROOT = Path(__file__).parents[2] / "channels"
TABLES = CodeTables()
SITE = read_site(ROOT, Known(tables=set(TABLES.names()), environ={"LEE_EHR_TOKEN": "x"}))


def test_no_shipped_channel_has_a_fault() -> None:
    assert [str(fault) for fault in SITE.faults] == []
    assert sorted(SITE.channels) == ["hospital-adt", "northside-lab-relay", "northside-lab-results", "orders-to-lab"]


@pytest.mark.parametrize("name", sorted(SITE.channels))
def test_every_case_passes(name: str) -> None:
    results = rehearse(SITE.channels[name], Parts(TABLES, apply_maps))
    assert len(results) >= 3
    assert [f"{r.case.name}: {found}" for r in results for found in r.differences] == []


@pytest.mark.parametrize("name", sorted(SITE.channels))
def test_every_destination_gets_something_in_some_case(name: str) -> None:
    channel = SITE.channels[name]
    expected = {destination for case in cases(channel) for destination in case.outputs()}
    assert expected == {spec.name for spec in channel.destinations}
