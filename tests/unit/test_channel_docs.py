"""docs/channels.md says what the code says: every key with its type, default, meaning and example, and every fact."""

from __future__ import annotations

import tomllib
from pathlib import Path

from engine import registry
from engine.channels.checks import Known
from engine.channels.keys import TABLES, Key
from engine.channels.site import inspect_channel
from engine.rehearsal.cases import KEYS

DOC = Path(__file__).parents[2] / "docs" / "channels.md"


def row(key: Key) -> str:
    """A key as the documentation shows it."""
    kind = " \\| ".join(f'`"{choice}"`' for choice in key.choices) or key.kind
    default = "required" if key.required else key.default if " " in key.default else f"`{key.default}`"
    return f"| `{key.name}` | {kind} | {default} | {key.meaning} | `{key.example}` |"


def rows_below(header: str) -> list[list[str]]:
    """The rows of each table with that header, in the order of the document."""
    tables: list[list[str]] = []
    lines = iter(DOC.read_text("utf-8").splitlines())
    for line in lines:
        if line == header:
            next(lines)
            tables.append([])
            while (cells := next(lines, "")).startswith("|"):
                tables[-1].append(cells)
    return tables


def test_every_key_is_documented_as_it_is() -> None:
    documented = rows_below("| key | type | default | meaning | example |")
    assert documented == [[row(key) for key in keys] for keys in TABLES.values()]


def test_every_fact_is_documented_as_it_is() -> None:
    facts = [registry.facts(kind) for kind in ("hl7v2", "fhir")]
    tables = [[f"| `{name}` | {meaning} |" for name, meaning in each.items()] for each in facts]
    assert rows_below("| fact | meaning |") == tables
    assert all(len(each) > 10 for each in facts)


def test_every_key_of_a_case_is_documented() -> None:
    (rows,) = rows_below("| key of NAME.toml | type | default | meaning |")
    assert [cells.split("`")[1] for cells in rows] == list(KEYS)


def test_every_example_is_toml_of_the_type_it_shows() -> None:
    for keys in TABLES.values():
        for key in keys:
            written = (
                key.example if key.example.startswith("[") and key.kind == "table" else f"{key.name} = {key.example}"
            )
            assert tomllib.loads(written), key.name
            if key.choices:
                assert tomllib.loads(written)[key.name] in key.choices


def test_the_first_channel_of_the_documentation_works(tmp_path: Path) -> None:
    text = DOC.read_text("utf-8").split("## A first channel")[1].split("```toml\n")[1].split("```")[0]
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "channel.toml").write_text(text, "utf-8")
    channel, faults = inspect_channel(folder, Known())
    assert faults == []
    assert channel is not None
