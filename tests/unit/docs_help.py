"""What the documents must say, taken from the code: run `python -m tests.unit.docs_help` to write it into them.

A part of a document that is made here stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else is
written by people.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from engine import observe, registry
from engine.knobs import Knob
from engine.model import DeliveryState
from engine.web.metrics import Gauges, Waiting, render
from mappings.fhir_hl7v2 import KNOBS as TO_HL7V2
from mappings.fhir_hl7v2.findings import TEXTS as TEXTS_TO_HL7V2
from mappings.hl7v2_fhir.findings import TEXTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PACKAGES = ("engine", "mappings", "deadletter")


# reading a page


def blocks(page: Path, *kinds: str) -> list[str]:
    """The fenced blocks of a page, of some kinds."""
    return [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind in kinds]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def spans(page: Path) -> list[str]:
    """What a page marks as code inside its sentences."""
    return SPAN.findall(prose(page))


def rows(page: Path, header: str) -> list[list[str]]:
    """The rows of every table with that header, as cells."""
    found = []
    lines = iter(page.read_text("utf-8").splitlines())
    for line in lines:
        if line == header:
            next(lines)
            while (row := next(lines, "")).startswith("|"):
                found.append([cell.strip() for cell in row.strip("|").split(" | ")])
    assert found, f"{page.name} has no table {header}"
    return found


def anchors(page: Path) -> set[str]:
    """What a link may name in a page, as GitHub makes it from headings."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


# what is made from the code


def modules() -> list[Path]:
    """Every module of the three packages, as paths below the repository."""
    return sorted(file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def purpose(module: Path) -> str:
    """The first sentence or two of a module's docstring: what it says it is for."""
    docstring = ast.get_docstring(ast.parse((ROOT / module).read_text("utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def rooms() -> str:
    """Every folder with its modules, a line each."""
    lines: list[str] = []
    for folder in sorted({module.parent for module in modules()}):
        lines += ["", f"### {folder}/", ""]
        inside = [module for module in modules() if module.parent == folder]
        for module in sorted(inside, key=lambda module: (module.name != "__init__.py", module.name)):
            lines.append(f"* `{module.name}`: {purpose(module)}")
    return "\n".join(lines[1:])


def layers() -> str:
    """The order of imports, as the linter holds it."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    names = contract["importlinter:contract:layers"]["layers"].split("\n")
    return "\n".join(["```text", *(name.strip().replace("engine.", "") for name in names if name.strip()), "```"])


def connectors() -> dict[str, list[str]]:
    """Each built-in connector's schemes, by the first of them."""
    by_module: dict[str, list[str]] = {}
    for scheme, module in registry.CONNECTORS.items():
        by_module.setdefault(module, []).append(scheme)
    return {schemes[0]: schemes for schemes in by_module.values()}


def knobs(scheme: str, side: str) -> str:
    """A connector's knobs, each with its kind, default and meaning."""
    return _knobs(getattr(registry.connector(scheme), f"{side}_KNOBS", ()))


def _knobs(declared: Iterable[Knob]) -> str:
    return "\n".join(["| knob | kind | default | meaning |", "|---|---|---|---|", *map(_knob, declared)])


def _knob(knob: Knob) -> str:
    kind = " \\| ".join(f'`"{choice}"`' for choice in knob.choices) or knob.kind
    return f"| `{knob.name}` | {kind} | `{json.dumps(knob.default)}` | {knob.help[0].upper()}{knob.help[1:]}. |"


def findings(texts: Mapping[str, str] = TEXTS) -> str:
    """What a conversion may report."""
    return _table(("code", "what it says"), ((code, text) for code, text in texts.items()))


def metrics() -> str:
    """Every metric, from a page rendered with something of each."""
    observe.connector_events["first-lab", "junk"] += 0
    waiting = [Waiting("first-lab", "inbox", dict.fromkeys(DeliveryState, 1), 1.0)]
    page = render(Gauges(waiting, {"first-lab": 0}, {"first-lab": 0}, 1, True)).decode()
    helps = [line.split(" ", 3)[2:] for line in page.splitlines() if line.startswith("# HELP")]
    return _table(("metric", "meaning"), ((name, text) for name, text in helps))


def log_fields() -> str:
    """Every field that a log line may carry."""
    return ", ".join(f"`{field}`" for field in sorted(observe.FIELDS)) + "."


def events() -> set[str]:
    """Every event that is logged, by the names in the source."""
    found: set[str] = set()
    for module in modules():
        for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
            if isinstance(node, ast.Call) and _called(node) in ("observe.event", "observe.failed", "event", "_raised"):
                found |= words(node.args[0])
    return found


def words(tree: ast.AST) -> set[str]:
    """The texts of one word that a piece of source holds."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text for text in constants if isinstance(text, str) and text.isidentifier()}


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def _table(header: tuple[str, str], rows: Iterator[tuple[str, str] | list[str]]) -> str:
    return "\n".join([f"| {' | '.join(header)} |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows)])


def parts() -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Every part that is made: its document, its name, and what makes it."""
    yield DOCS / "architecture.md", "rooms", rooms
    yield DOCS / "architecture.md", "layers", layers
    yield DOCS / "fhir.md", "findings", findings
    yield DOCS / "fhir-to-hl7v2.md", "findings", lambda: findings(TEXTS_TO_HL7V2)
    yield DOCS / "fhir-to-hl7v2.md", "knobs", lambda: _knobs(TO_HL7V2)
    yield DOCS / "operations.md", "metrics", metrics
    yield DOCS / "operations.md", "log fields", log_fields
    for scheme in connectors():
        for side in ("SOURCE", "DESTINATION"):
            if getattr(registry.connector(scheme), f"{side}_KNOBS", ()):
                name = f"knobs {scheme} {side.lower()}"
                yield DOCS / "connectors.md", name, lambda scheme=scheme, side=side: knobs(scheme, side)  # type: ignore[misc]


def standing(document: Path, name: str) -> str:
    """What stands in a document as a part now."""
    _, begun, rest = document.read_text("utf-8").partition(f"<!-- begin {name} -->\n")
    part, ended, _ = rest.partition(f"\n<!-- end {name} -->")
    assert begun, f"{document.name} has no part {name}"
    assert ended, f"the part {name} of {document.name} has no end"
    return part.strip("\n")


def write(made: Mapping[tuple[Path, str], str]) -> None:
    """Put the parts into their documents."""
    for (document, name), text in made.items():
        old, document_text = standing(document, name), document.read_text("utf-8")
        mark = f"<!-- begin {name} -->\n"
        before, after = document_text.split(mark, 1)
        document.write_text(before + mark + after.replace(old, text, 1) if old else _filled(before, mark, text, after))


def _filled(before: str, mark: str, text: str, after: str) -> str:
    return f"{before}{mark}\n{text}\n{after}"


if __name__ == "__main__":
    write({(document, name): make() for document, name, make in parts()})
