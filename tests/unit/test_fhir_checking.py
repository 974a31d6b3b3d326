"""The check of what a destination is sent: what is wrong holds the delivery, and so does what nobody can check."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.channels.checks import Known
from engine.channels.site import inspect_channel
from engine.errors import Held
from engine.formats.fhir import checking, profiles, structure
from engine.formats.fhir.checking import OutputChecks
from engine.formats.hl7v2.conformance import Conformance
from engine.model import Converted, Finding
from engine.wiring import DestinationSpec
from tests.building import channel, oru, path, spec

RIGHT = {"resourceType": "Observation", "status": "final", "code": {"text": "Jane Doe"}}
#: A profile of one rule that base R4 does not have: a result has a subject.
PROFILE = {
    "resourceType": "StructureDefinition",
    "id": "with-subject",
    "url": "https://interlock.example/fhir/StructureDefinition/with-subject",
    "name": "WithSubject",
    "status": "active",
    "kind": "resource",
    "abstract": False,
    "type": "Observation",
    "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
    "derivation": "constraint",
    "snapshot": {
        "element": [
            {"id": "Observation", "path": "Observation", "min": 0, "max": "*"},
            {"id": "Observation.subject", "path": "Observation.subject", "min": 1, "max": "1"},
        ]
    },
}


def judge(payload: Any, validate: Any, definitions: tuple[Path, ...] = ()) -> Held | None:
    """What a check of one payload holds it for."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()

    async def run() -> Held | None:
        checks = OutputChecks(definitions)
        try:
            await checks.check(raw, DestinationSpec("d", "memory://d", validate=validate))
        except Held as held:
            return held
        finally:
            await checks.close()
        return None

    return asyncio.run(run())


def test_what_is_right_passes() -> None:
    for validate in ("off", "shape"):
        assert judge(RIGHT, validate) is None
    assert judge({"nonsense": 1}, "off") is None


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ({**RIGHT, "code": None}, "Observation.code"),
        ({**RIGHT, "effectiveDateTime": "Jane Doe"}, "Observation.effectiveDateTime"),
        ({**RIGHT, "valueInteger": 1.5}, "Observation.valueInteger"),
        ({**RIGHT, "note": []}, "Observation.note"),
        ({"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {**RIGHT, "x": 1}}]},
         "Bundle.entry[0].resource.x"),
        ({"resourceType": "Nonsense"}, "Nonsense"),
        (b"MSH|Jane Doe", ""),
        (b"\xff", ""),
    ],
)  # fmt: skip
def test_what_has_not_the_shape_of_R4_is_held_with_its_place_and_no_value(payload: Any, where: str) -> None:
    held = judge(payload, "shape")
    assert held is not None
    assert (held.code, held.where) == ("output_invalid", where)
    assert held.findings and all(one.code == "output_invalid" and one.subject for one in held.findings)
    assert "Jane" not in f"{held.text} {held.findings}"


def test_a_profile_of_the_sites_own_is_asked_after_the_shape(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text('{"name": "own", "version": "1.0.0", "fhirVersions": ["4.0.1"]}')
    (package / "StructureDefinition-with-subject.json").write_text(json.dumps(PROFILE))
    mine = {**RIGHT, "meta": {"profile": [PROFILE["url"]]}}
    held = judge(mine, "profile", (tmp_path,))
    assert held is not None
    assert (held.code, "Jane" in f"{held.text} {held.findings}") == ("output_invalid", False)
    assert any("subject" in one.where for one in held.findings)
    assert judge({**mine, "subject": {"display": "somebody"}}, "profile", (tmp_path,)) is None
    assert [one.where for one in (judge({**mine, "x": 1}, "profile", (tmp_path,)) or held).findings] == [
        "Observation.x"
    ]


def test_profiles_without_definitions_hold_with_advice() -> None:
    held = judge(RIGHT, "profile")
    assert held is not None
    assert (held.code, "INTERLOCK_FHIR_DEFINITIONS" in held.advice) == ("output_unchecked", True)


@pytest.mark.parametrize(("module", "validate"), [(structure, "shape"), (profiles, "profile")])
def test_what_is_not_installed_holds_with_advice(
    module: Any, validate: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "structure_installed" if module is structure else "profiles_installed"
    monkeypatch.setattr(checking, name, lambda: False)
    held = judge(RIGHT, validate, (tmp_path,))
    assert held is not None
    assert (held.code, "interlock[validate]" in held.advice) == ("output_unchecked", True)


def _sleep(raw: bytes) -> list[Finding]:
    time.sleep(60)
    return []


def test_a_check_that_does_not_end_holds_too(tmp_path: Path) -> None:
    async def run() -> Held | None:
        checks = OutputChecks((tmp_path,))
        checks._profiles = Conformance(1, 0.5, partial(_sleep), "Bundle")
        try:
            await checks.check(json.dumps(RIGHT).encode(), DestinationSpec("d", "memory://d", validate="profile"))
        except Held as held:
            return held
        finally:
            await checks.close()
        return None

    held = asyncio.run(run())
    assert held is not None and held.code == "output_unchecked"


def converter(payload: bytes) -> Any:
    return lambda parsed, tables, context: Converted(payload, "application/fhir+json")


@pytest.mark.parametrize(("payload", "state"), [(RIGHT, "delivered"), ({**RIGHT, "status": []}, "held")])
def test_a_delivery_is_held_before_anything_of_it_leaves(tmp_path: Path, payload: Any, state: str) -> None:
    async def run() -> None:
        wiring = channel(spec(convert="x:y", validate="shape"))
        async with path(tmp_path, wiring, converters={"ehr": converter(json.dumps(payload).encode())}) as line:
            checks = OutputChecks()
            line.ports.check_output = checks.check
            await line.send(oru())
            await line.quiet()
            assert await line.states() == [state]
            assert len(line.destinations["ehr"].received) == (state == "delivered")
            assert await line.rows("SELECT code, count FROM item") == (
                [("output_invalid", 1)] if state == "held" else []
            )
            assert await line.rows("SELECT count(*) FROM attempt") == [(int(state == "delivered"),)]
            await checks.close()

    asyncio.run(run())


CHANNEL = """
name  = "in"
title = "In"
class = "result"

[source]
listen = "fhir+http://127.0.0.1:0/fhir"
format = "fhir"
accept = ["Observation", "Bundle/transaction/DiagnosticReport", "*"]

[[destination]]
name     = "ehr"
to       = "memory://ehr"
validate = "profile"
"""


def faults(tmp_path: Path, text: str, **environ: str) -> list[tuple[str, str]]:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    (folder / "channel.toml").write_text(text)
    return [(fault.severity, fault.text) for fault in inspect_channel(folder, Known(environ=environ))[1]]


def test_a_channel_says_before_it_runs_what_its_checks_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(tmp_path, CHANNEL) == [("warning", "no FHIR definitions are set here")]
    assert faults(tmp_path, CHANNEL, INTERLOCK_FHIR_DEFINITIONS="/definitions") == []
    monkeypatch.setattr("engine.channels.checks.find_spec", lambda package: None)
    assert faults(tmp_path, CHANNEL) == [("error", "this needs fhirkit and pyfhircheck")]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('format = "fhir"', "", "a fhir source does not take hl7v2"),
        ('"Observation"', '"ORU^R01"', '"ORU^R01" is no message type'),
        ('format = "fhir"', 'format = "fhir"\nvalidate = "hl7apy"', '"hl7apy" does not check fhir'),
        ("fhir+http://127.0.0.1:0/fhir", "mllp://127.0.0.1:0", None),
    ],
)
def test_a_channel_of_fhir_is_checked_as_one(tmp_path: Path, old: str, new: str, text: str | None) -> None:
    found = [said for severity, said in faults(tmp_path, CHANNEL.replace(old, new)) if severity == "error"]
    assert (text in found) if text else found == []
