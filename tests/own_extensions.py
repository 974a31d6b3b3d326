"""This project's own extensions: which the code can write, and which have a definition in mappings/profiles/.

    python -m tests.own_extensions NAME string|CodeableConcept CONTEXT "WHAT IT KEEPS, AND WHY"

writes a definition and names it in docs/conformance.md; the context is the element that it stands on, such as
`Observation`, or several with commas.

    python -m tests.own_extensions

writes what is missing and says itself what it keeps, because it stands in a segment map, and the page.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.formats.hl7v2.names import field_name
from mappings.hl7v2_fhir.vocabulary import OWN

MAPPINGS = Path(__file__).parent.parent / "mappings"
CONVERSION = MAPPINGS / "hl7v2_fhir"
PROFILES = MAPPINGS / "profiles"
PAGE = MAPPINGS.parent / "docs" / "conformance.md"
TYPES = {
    "own text": "string",
    "own name": "string",
    "own concept": "CodeableConcept",
    "own concept beyond": "CodeableConcept",
    "own time": "dateTime",
}
"""What a segment map's word for an own extension makes its value."""


def written() -> dict[str, str]:
    """The name of every own extension that the conversion can write, and where it is written."""
    found = {}
    for module in sorted(CONVERSION.rglob("*.py")):
        for name, line in _in_module(ast.parse(module.read_text("utf-8"))):
            found.setdefault(name, f"{module.relative_to(MAPPINGS.parent)}:{line}")
    for one in mapped():
        found.setdefault(one.name, f"{one.table.relative_to(MAPPINGS.parent)} {one.field} ({one.kind})")
    return found


class Mapped(NamedTuple):
    """An own extension in a segment map: its name, what makes its value, the field, and what it stands on."""

    name: str
    kind: str
    field: str
    context: str
    table: Path


def mapped() -> Iterator[Mapped]:
    """Every own extension of every segment map."""
    for table in sorted((CONVERSION / "maps").glob("???-*.csv")):
        resource = table.stem.split("-")[1].rstrip("+")
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["as"] in TYPES:
                    path = re.sub(r"\[\d*\]", "", row["element"]).removesuffix("extension").rstrip("._")
                    context = f"{resource}.{path}" if path else resource
                    yield Mapped(row["using"].partition("|")[0], row["as"], row["field"], context, table)


def _in_module(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """`own_text("name", ...)` and `OWN + "name"`, also by a constant of the module."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        name: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "own_text":
            name = node.args[0]
        elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.Name) and node.left.id == "OWN":
            name = node.right
        value = name.value if isinstance(name, ast.Constant) else None
        value = constants.get(name.id) if isinstance(name, ast.Name) else value
        if isinstance(value, str):
            yield value, node.lineno


def defined() -> dict[str, dict[str, Any]]:
    """Every definition in mappings/profiles/, by its file's name without `.json`."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(PROFILES.glob("*.json"))}


def definition(name: str, value: str, contexts: list[str], description: str) -> dict[str, Any]:
    """The StructureDefinition of an extension with one value, of one type or of several with commas between."""
    types = [{"code": one} for one in value.split(",")]
    return {
        "resourceType": "StructureDefinition",
        "id": name,
        "url": OWN + name,
        "version": "1.0.0",
        "name": "".join(part.capitalize() for part in name.split("-")),
        "status": "active",
        "date": "2026-11-22",
        "description": description,
        "fhirVersion": "4.0.1",
        "kind": "complex-type",
        "abstract": False,
        "context": [{"type": "element", "expression": context} for context in contexts],
        "type": "Extension",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Extension",
        "derivation": "constraint",
        "differential": {
            "element": [
                {"id": "Extension", "path": "Extension", "short": description},
                {"id": "Extension.extension", "path": "Extension.extension", "max": "0"},
                {"id": "Extension.url", "path": "Extension.url", "fixedUri": OWN + name},
                {"id": "Extension.value[x]", "path": "Extension.value[x]", "min": 1, "type": types},
            ]
        },
    }


def show(made: dict[str, Any]) -> str:
    """A definition as it stands in its file."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def table() -> str:
    """Every definition as a row of the page."""
    rows = ["| extension | stands on | what it keeps |", "|---|---|---|"]
    for name, found in defined().items():
        contexts = ", ".join(f"`{context['expression']}`" for context in found["context"])
        rows.append(f"| `{name}` | {contexts} | {found['description']} |")
    return "\n".join(rows)


def on_page() -> tuple[str, str, str]:
    """The page before, in and after its table of extensions."""
    before, rest = PAGE.read_text("utf-8").split("<!-- begin extensions -->\n\n")
    now, after = rest.split("\n\n<!-- end extensions -->")
    return before + "<!-- begin extensions -->\n\n", now, "\n\n<!-- end extensions -->" + after


def write_mapped() -> None:
    """Write what segment maps ask for: definitions in the words of the standard, contexts and types of others."""
    there = defined()
    wanted: dict[str, list[Mapped]] = {}
    for one in mapped():
        wanted.setdefault(one.name, []).append(one)
    for name, all_of_it in wanted.items():
        old = there.get(name)
        contexts, kinds = _said(old)
        if "Element" not in contexts:
            contexts = sorted({*contexts, *(one.context for one in all_of_it)})
        types = ",".join(sorted({*kinds, *(TYPES[one.kind] for one in all_of_it)}))
        fields = ", ".join(dict.fromkeys(f"{one.field} ({_called(one.field)})" for one in all_of_it))
        words = f"{fields}: {contexts[0].partition('.')[0]} has no element for it."
        made = definition(name, types, contexts, old["description"] if old else words)
        (PROFILES / f"{name}.json").write_text(show(made), "utf-8")


def _said(old: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """What a definition that is there already stands on, and the types of its value."""
    if old is None:
        return [], []
    contexts = [one["expression"] for one in old["context"]]
    return contexts, [one["code"] for one in old["differential"]["element"][-1]["type"]]


def _called(fields: str) -> str:
    """What the standard calls a field, of several the first; the newest version that has it."""
    segment, number = fields.split()[0].partition(".")[0].split("-")
    names = (field_name(version, segment, int(number)) for version in ("2.8.2", "2.5.1", "2.3"))
    return next((name.lower() for name in names if name), "a field of a later version")


def main(*words: str) -> None:
    """Write the definition of an extension when one is given, else those that are missing, and the page.

    What a definition that is there allows it goes on to allow: another map may need it.
    """
    if words:
        name, value, contexts, description = words
        there, kinds = _said(defined().get(name))
        types = ",".join(sorted({*kinds, *value.split(",")}))
        made = definition(name, types, sorted({*there, *contexts.split(",")}), description)
        (PROFILES / f"{name}.json").write_text(show(made), "utf-8")
    else:
        write_mapped()
    before, _, after = on_page()
    PAGE.write_text(before + table() + after, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
