"""Names become parts, lazily, and what is not there is told with what there is."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from engine import registry
from engine.errors import Configuration, NotFound
from engine.knobs import Knob
from engine.wiring import Channel, DestinationSpec, SourceSpec


@pytest.mark.parametrize("scheme", sorted(registry.CONNECTORS))
def test_every_built_in_connector_has_what_the_registry_asks(scheme: str) -> None:
    found = registry.connector(scheme)
    for side in ("source", "destination"):
        if hasattr(found, side):
            knobs = getattr(found, f"{side.upper()}_KNOBS")
            assert all(isinstance(knob, Knob) for knob in knobs)
            assert len({knob.name for knob in knobs}) == len(knobs)
    assert hasattr(found, "source") or hasattr(found, "destination")


@pytest.mark.parametrize("kind", sorted(registry.FORMATS))
def test_every_built_in_format_is_what_it_says(kind: str) -> None:
    assert registry.format(kind).kind == kind
    assert registry.format(kind) is registry.format(kind)
    assert all(meaning for meaning in registry.facts(kind).values())


def test_nothing_is_imported_before_it_is_used() -> None:
    names = [*registry.CONNECTORS.values(), *(name.partition(":")[0] for name in registry.FORMATS.values())]
    program = f"import sys, engine.registry; print([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sources_and_destinations_are_made_of_their_specs() -> None:
    spec = DestinationSpec("ehr", "memory://ehr")
    channel = Channel("lab", "Laboratory", "result", SourceSpec("memory://lab"), (spec,))
    assert registry.source(channel).address.startswith("memory://")
    assert hasattr(registry.destination(channel, spec), "deliver")


def test_what_nobody_registered_is_not_found() -> None:
    with pytest.raises(NotFound, match="connector"):
        registry.connector("gopher")
    with pytest.raises(NotFound, match="format"):
        registry.format("morse")
    with pytest.raises(NotFound, match="format"):
        registry.facts("morse")


def test_a_third_party_registers_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        registry.CONNECTOR_GROUP: importlib.metadata.EntryPoint("pigeon", "channel_fakes", "x"),
        registry.FORMAT_GROUP: importlib.metadata.EntryPoint("fake", "channel_fakes:Format", "x"),
    }
    monkeypatch.setattr(
        registry, "plugins", lambda group: {points[group].name: points[group]} if group in points else {}
    )
    assert "pigeon" in registry.schemes()
    assert "fake" in registry.kinds()
    assert registry.connector.__wrapped__("pigeon").SOURCE_KNOBS
    assert registry.format.__wrapped__("fake").kind == "hl7v2"
    assert "abnormal" in registry.facts("fake")
    assert registry.tables() is None
    assert registry.maps() is None


def test_running_resolves_every_name() -> None:
    fakes = "channel_fakes"
    specs = (
        DestinationSpec("a", "memory://a", convert=f"{fakes}:convert", when=f"{fakes}:wanted"),
        DestinationSpec("b", "memory://b"),
    )
    running = registry.running(Channel("lab", "Laboratory", "result", SourceSpec("memory://lab"), specs))
    assert list(running.converters) == ["a"]
    assert list(running.predicates) == ["a"]
    assert running.format.kind == "hl7v2"
    assert running.taking


@pytest.mark.parametrize(
    ("dotted", "says"),
    [
        ("nonsense", "write it as package.module:function"),
        ("a b:c", "write it as package.module:function"),
        ("os:system.x", "write it as package.module:function"),
        ("no_such_package_here:f", "importing no_such_package_here raised ModuleNotFoundError"),
        ("channel_fakes:nothing", 'the module has no "nothing"'),
        ("channel_fakes:NOT_A_FUNCTION", "it is not a function"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(dotted: str, says: str) -> None:
    with pytest.raises(Configuration) as raised:
        registry.resolve(dotted)
    assert says in str(raised.value)


def test_site_code_that_raises_on_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "site_code_that_raises.py").write_text("1 / 0\n")
    with pytest.raises(Configuration, match="ZeroDivisionError"):
        registry.resolve("site_code_that_raises:f")


def test_the_scheme_of_a_url() -> None:
    assert [registry.scheme_of(url) for url in ("MLLP://x", "fhir+https://x", "nothing", "")] == [
        "mllp",
        "fhir+https",
        "",
        "",
    ]
