"""Every code that the engine writes as a reason is explained, and the page says what the table says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from deadletter import reasons
from tests.conftest import ROOT

NOT_REASONS = {
    "error", "setting", "channel", "name", "not_found", "unsafe_store", "wrong_key", "key_missing", "key_exposed",
    "key_malformed", "newer_schema", "older_schema", "unsafe_journal", "folder_locked", "store_unreadable",
    "backup_changed", "token_file", "no_channel", "no_server", "no_answer", "no_store", "forbidden", "usage", "faults",
    "comes_later", "address", "keys_missing", "file", "malformed", "term", "not_hl7v2", "unfinished_move", "moved_away",
    "balance_open", "move_differs", "store_in_use", "target_not_empty", "role", "unsafe_database", "too_many_processes",
    "expelled", "month_in_use", "month_in_window", "month_open", "month_recent",
}  # fmt: skip
"""Codes of commands and starts: answered there, never written to a message or delivery."""
RAISED = {"Held", "Unreadable", "Refused", "NotAccepted", "TooLarge", "WrongEnvironment", "StoreUnavailable"}
OUTCOMES = {"Outcome", "NotSent", "InDoubt", "_unreachable", "_in_doubt", "in_doubt", "_ambiguous", "_fail"}


def sources() -> list[Path]:
    folders = (ROOT / "engine", ROOT / "mappings")
    return [file for folder in folders for file in sorted(folder.rglob("*.py")) if "/cli/" not in str(file)]


def codes_in(file: Path) -> Iterator[str]:
    """Codes given by name (`code="x"`), as the first argument of an outcome, or as an error class's own."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield from (k.value.value for k in node.keywords if k.arg == "code" and _is_text(k.value))  # type: ignore[attr-defined]
            if called in OUTCOMES and node.args and _is_text(node.args[0]):
                yield node.args[0].value  # type: ignore[attr-defined]
        if isinstance(node, ast.ClassDef) and "errors" in file.name:
            yield from (a.value.value for a in node.body if _is_code(a))  # type: ignore[attr-defined]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_code(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code" and _is_text(node.value)


def test_every_code_of_the_engine_is_explained() -> None:
    found = {code: file.name for file in sources() for code in codes_in(file)}
    assert len(found) > 60
    unknown = {code: file for code, file in found.items() if code not in NOT_REASONS and not reasons.is_known(code)}
    assert unknown == {}


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("AE 207", "AE"), ("AR", "AR"), ("HTTP 422 invalid", "HTTP 422"), ("HTTP 418", "HTTP 4"),
        ("HTTP 503", "HTTP 5"), ("CR 200", "CR"), ("gave_up", "gave_up"),
    ],
)  # fmt: skip
def test_a_code_with_details_belongs_to_its_family(code: str, entry: str) -> None:
    assert reasons.explain(code) == reasons.Reason(
        code, reasons.explain(entry).meaning, reasons.explain(entry).advice, reasons.explain(entry).replay
    )
    assert reasons.is_known(code)


def test_an_unknown_code_is_said_to_be_one() -> None:
    assert not reasons.is_known("site_special")
    assert reasons.explain("site_special").advice
    assert not reasons.is_known("HTTP")
    assert not reasons.is_known("")


def test_codes_are_there_once() -> None:
    codes = [reason.code for group in reasons.GROUPS for reason in group.reasons]
    assert len(codes) == len(set(codes))


def test_the_page_is_the_table() -> None:
    page = (ROOT / "docs" / "dead-letters.md").read_text()
    assert page == reasons.document(), "run: python -m deadletter.reasons > docs/dead-letters.md"
