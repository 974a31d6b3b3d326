"""docs/fhir-rules.md is true: its tests exist, and none of the tests here is missing from it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.unit.docs_help import DOCS, SPAN, rows

PAGE = DOCS / "fhir-rules.md"
HERE = Path(__file__).parent
RULES = rows(PAGE, "| # | rule | source | test |")


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests in a module."""
    body = ast.parse(path.read_text("utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def named() -> list[tuple[Path, str]]:
    """The tests that the page names, one a rule."""
    spans = [SPAN.findall(test) for *_, test in RULES]
    assert all(len(one) == 1 for one in spans)
    split = [one.split("::") for (one,) in spans]
    return [((HERE.parent / path).resolve(), name) for path, name in split]


def test_every_rule_has_a_test_that_exists() -> None:
    assert [f"{path.name}::{name}" for path, name in named() if not path.exists() or name not in names_in(path)] == []


def test_every_test_of_a_rule_is_on_the_page() -> None:
    listed = set(named())
    here = {
        (path, name) for path in HERE.glob("test_*.py") if path.name != Path(__file__).name for name in names_in(path)
    }
    assert sorted(name for _, name in here - listed) == []


def test_rules_are_numbered_have_a_source_and_none_is_there_twice() -> None:
    assert [number for number, *_ in RULES] == [str(number + 1) for number in range(len(RULES))]
    assert len(RULES) > 200
    assert all(source for _, _, source, _ in RULES)
    said = [(rule, test) for _, rule, _, test in RULES]
    assert len(set(said)) == len(said)
