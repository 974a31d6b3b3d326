"""Reads the engine's source: where bytes become durable or leave, and which failpoints stand before and after.

What counts as an act: a store commit (COMMIT, a writing statement or checkpoint outside a batch), a write to a socket
or a file descriptor, an fsync, a rename or link. Between an act and its two points there is no other act.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.store import sql

ENGINE = Path(__file__).parents[2] / "engine"
WRITES = frozenset({"write", "writelines", "sendall", "send", "sendto", "write_bytes", "write_text", "send_now"})
SYNCS = frozenset({"fsync", "fdatasync"})
RENAMES = frozenset({"rename", "posix_rename", "link", "renames"})
CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT", "PRAGMA WAL_CHECKPOINT")
IN_A_BATCH = frozenset({"t.connection", "transaction.connection"})
"""Receivers of statements that run inside `ledger.Transaction`, whose commit has the points."""
RENDERED = "store/sqlite_connection.py"
"""Only renders what others run; the points are where they run it."""


@dataclass(frozen=True, slots=True)
class Act:
    """One place in the source: `what` is the call as it stands there."""

    file: str
    function: str
    line: int
    what: str
    before: str = ""
    after: str = ""

    @property
    def guarded(self) -> bool:
        """True when a point of the same name stands before and after."""
        name = self.before.removesuffix(".before")
        return self.before == f"{name}.before" and self.after == f"{name}.after" and bool(name)


def acts() -> list[Act]:
    """Every act in the engine's source."""
    return [act for file in sorted(ENGINE.rglob("*.py")) for act in acts_in(file.read_text(), _name(file))]


def acts_in(text: str, name: str) -> list[Act]:
    """The acts of one module."""
    tree = ast.parse(text)
    constants = _constants(tree)
    return [act for function in _functions(tree) for act in _acts_of(function, name, constants)]


def names() -> list[str]:
    """Every failpoint's name, as often as it stands in the source."""
    found: list[str] = []
    for file in sorted(ENGINE.rglob("*.py")):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == "failpoint" and _name(file) != "failpoints.py":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{_name(file)}:{node.lineno}: a failpoint's name is no literal"
                found.append(str(name.value))
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).endswith("_POINTS") and node.value:
                found.extend(str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant))
    return found


def _name(file: Path) -> str:
    return file.relative_to(ENGINE).as_posix()


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, node.name + ".")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from _functions(node, prefix + node.name + ".")
        else:
            yield from _functions(node, prefix)


def _acts_of(function: tuple[str, ast.AST], file: str, constants: dict[str, str]) -> Iterator[Act]:
    """Acts and points of one function in the order of the source, nested functions left to themselves."""
    name, node = function
    steps = [
        (call, what) for call in sorted(_calls(node), key=lambda c: (c.lineno, c.col_offset))
        if (what := _step(call, constants, file))
    ]  # fmt: skip
    for position, (call, what) in enumerate(steps):
        if what == "act":
            before = _point(steps[position - 1][0]) if position else ""
            after = _point(steps[position + 1][0]) if position + 1 < len(steps) else ""
            yield Act(file, name, call.lineno, ast.unparse(call)[:60], before, after)


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from _calls(node)


def _step(call: ast.Call, constants: dict[str, str], file: str) -> str:
    """ "act", "point" or ""."""
    called = _called(call)
    if file == RENDERED or _in_a_batch(call, file):
        return ""
    if called in ("failpoint", "failpoints"):
        return "" if _point(call).endswith(".half") else "point"
    if called in WRITES | SYNCS | RENAMES or _is_os_replace(call):
        return "act"
    statement = called in ("execute", "executemany", "executescript", "commit")
    return "act" if statement and _changes(call, constants, file) else ""


def _changes(call: ast.Call, constants: dict[str, str], file: str) -> bool:
    """True for a statement that commits by itself; those of a batch are covered by the batch's COMMIT."""
    if _called(call) == "commit":
        return not call.args
    return bool(call.args) and _text(call.args[0], constants).lstrip().upper().startswith(CHANGES)


def _in_a_batch(call: ast.Call, file: str) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr == "commit":
        return False
    receiver = ast.unparse(call.func.value)
    return receiver in IN_A_BATCH or (file == "store/ledger.py" and receiver == "self.connection")


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    """The beginning of a statement, also when a constant of the module names it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return _text(node.values[0], constants)
    if isinstance(node, ast.FormattedValue):
        return ""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sql":
        statement = getattr(sql, node.attr)
        return str(getattr(statement, "text", statement))
    return constants.get(node.id, "") if isinstance(node, ast.Name) else ""


def _constants(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = _text(node.value, found)
    return found


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _is_os_replace(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("os.replace", "shutil.move")


def _point(call: ast.Call) -> str:
    """A point's name; of a batch's points the word that says which side."""
    if _called(call) == "failpoint":
        return str(call.args[0].value) if call.args and isinstance(call.args[0], ast.Constant) else ""
    if _called(call) == "failpoints":
        side = ast.unparse(call.args[0])
        return "batch.before" if "][0]" in side else "batch.after" if "][1]" in side else ""
    return ""
