"""What a stranger reads is true: every name, link, command and code in the documents is one that exists.

What the documents take from the code is made by `python -m tests.unit.docs_help`; commands that can run are run by
tests/e2e/test_docs_walk.py.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from deadletter.reasons import is_known
from engine import model, ports, registry
from engine.channels.checks import Known
from engine.channels.site import inspect_channel
from engine.cli.app import build
from engine.control import SOCKET
from engine.errors import Reply
from engine.formats.hl7v2_ack import answer_code
from engine.settings import NOT_SETTINGS, Settings, manifest
from engine.store import migrate
from engine.store.postgres import schema
from engine.store.sqlite import DATABASE, KEY_FILE
from tests.unit import docs_help
from tests.unit.docs_help import DOCS, ROOT, SPAN, anchors, blocks, prose, rows, spans

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
README = ROOT / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_code_is_broken_over_lines(page: Path) -> None:
    assert [line for line in prose(page).splitlines() if line.count("`") % 2] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = {README}, [README]
    while waiting:
        page = waiting.pop()
        linked = {(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(prose(page))}
        new = {file for file in linked if file.suffix == ".md" and file.exists()} - reached
        reached |= new
        waiting += new
    assert set(PAGES) <= reached


@pytest.mark.parametrize(("page", "name", "make"), list(docs_help.parts()))
def test_what_is_made_from_the_code_is_as_the_code_is(page: Path, name: str, make: Callable[[], str]) -> None:
    assert docs_help.standing(page, name) == make(), "run: python -m tests.unit.docs_help"


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module in docs_help.modules() if not docs_help.purpose(module)] == []


def test_every_connector_is_documented() -> None:
    headings = re.findall(r"^## (.+)$", prose(DOCS / "connectors.md"), re.MULTILINE)
    assert headings[:-1] == [", ".join(schemes) for schemes in docs_help.connectors().values()]


# commands


def commands() -> dict[str, Any]:
    """Every command by the words that call it."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", get_command(build()))]
    while waiting:
        words, command = waiting.pop()
        found[words] = command
        waiting += [(f"{words} {name}".strip(), child) for name, child in getattr(command, "commands", {}).items()]
    return found


def called(words: list[str], known: dict[str, Any]) -> tuple[str, list[str]]:
    """The longest command that the words begin with, and the rest of them."""
    for length in (2, 1):
        if (name := " ".join(words[:length])) in known:
            return name, words[length:]
    raise AssertionError(f"there is no command interlock {' '.join(words)}")


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every line of a fenced block that calls `interlock`, as words."""
    for text in blocks(page, "sh", ""):
        for line in text.splitlines():
            if line.startswith("interlock "):
                yield shlex.split(re.split(r"\s{2,}", line)[0], comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_line_can_be_called(page: Path) -> None:
    known = commands()
    for words in command_lines(page):
        name, rest = called(words, known)
        known[name].make_context(name, rest)  # raises for an option or argument that is not one


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_in_a_sentence_exists(page: Path) -> None:
    known = commands()
    every = {option for command in known.values() for parameter in command.params for option in parameter.opts}
    for span in spans(page):
        words = span.split()
        if words[0] == "interlock" and len(words) > 1 and words[1].islower():
            name, rest = called(words[1:], known)
            taken = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
            assert {word for word in rest if word.startswith("--")} <= taken, f"{page.name}: {span}"
        elif words[0].startswith("--"):
            assert words[0] in every | {"--help"}, f"{page.name}: {span}"


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text("utf-8")
    ends = [name for name, command in commands().items() if name and not getattr(command, "commands", None)]
    assert [name for name in ends if f"`interlock {name}`" not in text] == []


# names


def resolve(dotted: str) -> object:
    """The module, class or member that a dotted name stands for; a field of a dataclass counts."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, "__dataclass_fields__", {}).get(name) or getattr(found, name)
        return found
    raise AssertionError(f"nothing is called {dotted}")


GLOSSARY = rows(DOCS / "glossary.md", "| word | meaning | in the code |")
SCRIPTS = "".join(text for _, text in (*migrate.scripts(), *schema.scripts()))
STORE_TABLES = set(re.findall(r"CREATE TABLE (\w+)", SCRIPTS))


@pytest.mark.parametrize("row", GLOSSARY, ids=lambda row: row[0])
def test_every_word_of_the_glossary_is_in_the_code_or_comes_later(row: list[str]) -> None:
    _, meaning, where = row
    assert meaning.endswith(".")
    if where == "*comes later*":
        return
    tables = re.findall(r"table `(\w+)`", where)
    names = [name for name in SPAN.findall(where) if name not in tables]
    assert tables or names
    assert set(tables) <= STORE_TABLES
    for name in names:
        resolve(name)


def test_no_word_of_the_glossary_is_there_twice() -> None:
    words = [row[0] for row in GLOSSARY]
    assert sorted(set(words)) == sorted(words)


@pytest.mark.parametrize("module", [model, ports], ids=lambda module: module.__name__)
def test_every_public_class_of_the_contracts_is_in_the_glossary(module: Any) -> None:
    own = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__]
    named = {name for row in GLOSSARY for name in SPAN.findall(row[2])}
    assert [n for n in own if not n.startswith("_") and f"{module.__name__}.{n}" not in named] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_path_function_variable_and_metric_exists(page: Path) -> None:
    metrics = set(SPAN.findall(docs_help.metrics()))
    variables = {setting.variable for setting in manifest()} | NOT_SETTINGS
    for span in spans(page):
        if re.fullmatch(r"(engine|mappings|deadletter|tests|docs)/[\w/.-]*", span):
            assert (ROOT / span).exists(), f"{page.name}: {span}"
        elif re.fullmatch(r"(engine|mappings|deadletter)[\w.]*:\w+", span):
            registry.resolve(span)
        elif re.fullmatch(r"INTERLOCK_[A-Z_]+", span):
            assert span in variables, f"{page.name}: {span}"
        elif re.fullmatch(r"interlock_[a-z_]+", span):
            assert span in metrics, f"{page.name}: {span}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_piece_of_toml_is_toml(page: Path) -> None:
    for text in blocks(page, "toml"):
        for piece in [text] if "\n[" in text else text.splitlines():  # lines alone may be alternatives
            tomllib.loads(piece)


# codes


def codes() -> set[str]:
    """Every code that an error carries, by the source."""
    found: set[str] = set()
    for module in docs_help.modules():
        for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code":
                found |= docs_help.words(node)
            elif isinstance(node, ast.ClassDef):
                found |= {word for line in node.body if _sets_code(line) for word in docs_help.words(line)}
    return found


def _sets_code(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["code"]


OPERATIONS = DOCS / "operations.md"


def test_every_code_of_an_error_is_documented() -> None:
    listed = {SPAN.findall(row[0])[0] for row in rows(OPERATIONS, "| code | meaning |")}
    assert sorted(code for code in codes() if code not in listed and not is_known(code)) == []
    sources = "".join((ROOT / module).read_text("utf-8") for module in docs_help.modules())
    assert [code for code in listed if f'"{code}"' not in sources] == []


def test_every_reason_of_readyz_is_documented() -> None:
    tree = ast.parse((ROOT / "engine/web/probes.py").read_text("utf-8"))
    yields = set[str]().union(*(docs_help.words(node) for node in ast.walk(tree) if isinstance(node, ast.Yield)))
    listed = {SPAN.findall(row[0])[0] for row in rows(OPERATIONS, "| reason | meaning | what to do |")}
    assert listed == yields | {"store_not_writable"}


def test_every_event_that_is_logged_is_documented() -> None:
    listed = [name for row in rows(OPERATIONS, "| event | meaning |") for name in SPAN.findall(row[0])]
    assert sorted(listed) == sorted(docs_help.events())


def test_the_files_of_the_data_folder_are_documented() -> None:
    listed = {name for row in rows(OPERATIONS, "| file | what it is |") for name in SPAN.findall(row[0])}
    files = {DATABASE, DATABASE + "-wal", DATABASE + "-shm", KEY_FILE, SOCKET, Settings().token_file.name, "lock"}
    assert listed >= files


def test_every_decision_is_in_the_index_under_its_own_title() -> None:
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        number, _, title = page.read_text("utf-8").splitlines()[0].removeprefix("# ").partition(". ")
        assert f"| [{int(number):04}]({page.name}) | {title} |" in index


ACKNOWLEDGEMENTS = rows(DOCS / "hl7v2.md", "| what happened | original mode | enhanced mode |")


@pytest.mark.parametrize(("reply", "row"), list(zip(Reply, ACKNOWLEDGEMENTS, strict=True)))
def test_acknowledgements_are_documented_as_they_are(reply: Reply, row: list[str]) -> None:
    assert row[1:] == [answer_code("", "", reply), answer_code("AL", "NE", reply)]


# the README


def test_the_first_channel_has_ten_lines_and_no_fault(tmp_path: Path) -> None:
    (text,) = blocks(README, "toml")
    assert len(text.splitlines()) == 10
    folder = tmp_path / "first-lab"
    folder.mkdir()
    (folder / "channel.toml").write_text(text, "utf-8")
    channel, faults = inspect_channel(folder, Known())
    assert faults == []
    assert channel is not None


def test_the_readme_names_no_figure_that_was_not_measured() -> None:
    figure = re.compile(r"\d\s*(%|ms|µs|us|s|/s|msg|[KMGT]i?B|messages|times faster)(?![\w-])")
    assert figure.findall(prose(README)) == []
