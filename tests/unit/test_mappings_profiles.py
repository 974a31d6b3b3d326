"""Every own extension that a bundle can hold has a published definition, and nothing else has."""

from __future__ import annotations

import re

import pytest

from mappings.hl7v2_fhir.vocabulary import OWN
from tests.own_extensions import CONVERSION, PROFILES, TYPES, defined, definition, mapped, on_page, show, table, written

DEFINED = defined()


def test_every_own_extension_that_can_be_written_is_defined() -> None:
    missing = {name: where for name, where in written().items() if name not in DEFINED}
    assert not missing, "".join(_advice(name, where) for name, where in missing.items())


def test_nothing_is_defined_that_is_not_written() -> None:
    assert sorted(DEFINED.keys() - written().keys()) == []


def test_the_scan_sees_names_in_calls_constants_and_maps() -> None:
    assert {"v2-time", "v2-unit", "v2-analysis-time"} <= written().keys()


@pytest.mark.parametrize("name", DEFINED)
def test_a_definition_is_complete(name: str) -> None:
    found = DEFINED[name]
    contexts = [context["expression"] for context in found["context"]]
    types = ",".join(one["code"] for one in found["differential"]["element"][-1]["type"])
    assert re.fullmatch(r"v2-[a-z0-9]+(-[a-z0-9]+)*", name)
    assert contexts
    assert len(found["description"]) > 20
    assert found["url"] == OWN + name
    assert show(found) == show(definition(name, types, contexts, found["description"]))
    assert (PROFILES / f"{name}.json").read_text("utf-8") == show(found)


def test_a_map_s_extension_has_the_type_and_stands_where_its_definition_says() -> None:
    for one in mapped():
        if one.name in DEFINED:
            found = DEFINED[one.name]
            contexts = {context["expression"] for context in found["context"]}
            assert {"code": TYPES[one.kind]} in found["differential"]["element"][-1]["type"], one
            assert contexts & {"Element", one.context}, one


def test_the_page_lists_every_definition() -> None:
    assert on_page()[1] == table(), "run: python -m tests.own_extensions"


def test_no_other_url_of_this_project_is_written() -> None:
    """A URL that is spelled out somewhere would escape the scan above."""
    for module in CONVERSION.rglob("*.py"):
        if module.name != "vocabulary.py":
            assert OWN not in module.read_text("utf-8"), module


def _advice(name: str, where: str) -> str:
    """What to do for an extension that has no definition."""
    if ".csv " in where:
        return f"\n{where} writes {OWN}{name}, which has no definition: python -m tests.own_extensions"
    words = f'python -m tests.own_extensions {name} string|CodeableConcept|dateTime CONTEXT "WHAT IT KEEPS, AND WHY"'
    return f"\n{where} writes {OWN}{name}, which has no definition; with your words for the capitals:\n{words}"
