"""What the command line prints: one JSON document for scripts, tables for people, warnings beside both.

Invariant: standard output holds the answer and nothing else; what a message contains can never steer a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import InterlockError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

PIPED_COLUMNS = 160
"""Width of a table where no terminal says its own."""


def examples(*lines: str) -> str:
    """The examples below a command's help, kept as they are written."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def print_json(document: Any) -> None:
    """The one document of a command that was asked for --json."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n")


def print_json_line(document: Mapping[str, Any]) -> None:
    """A document on one line, at once: for what is read while the command runs on."""
    sys.stdout.write(json.dumps(document, default=_plain) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for people on standard output."""
    sys.stdout.write(visible(text) + "\n")


def warn(text: str) -> None:
    """A line beside the answer."""
    sys.stderr.write(f"interlock: {visible(text)}\n")


def show_error(error: InterlockError, *, as_json: bool) -> None:
    """An error as text beside the answer, and as the answer itself where JSON was asked for."""
    where = f"{error.where}: " if error.where else ""
    warn(where + error.text)
    if error.advice:
        sys.stderr.write(f"  {error.advice}\n")
    if as_json:
        document = {"code": error.code, "text": error.text, "where": error.where, "advice": error.advice}
        print_json({"error": document})


def visible(text: str) -> str:
    """The text with control characters, but line ends and tabs, as pictures (U+2400): none reaches the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _picture(c) for c in text.replace("\r\n", "\n").replace("\r", "\n"))


def _picture(character: str) -> str:
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\u2421"
    return character if character.isprintable() or character == "\u00a0" else "\ufffd"


def console() -> Console:
    """Standard output for tables; where it is no terminal, without colour and wide."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    return Console(width=width, highlight=False, soft_wrap=False)


def error_console() -> Console:
    """Standard error for progress bars."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def cell(value: object, style: str = "") -> Text:
    """A value as it is: no markup is read in it."""
    from rich.text import Text

    return Text(visible("" if value is None else str(value)), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A compact table; a cell may be text with its own style."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for name in columns:
        made.add_column(name.removesuffix("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    return made


def show(*parts: RenderableType) -> None:
    """Print tables and texts for people."""
    out = console()
    for part in parts:
        out.print(part)


def moment(at: int | None) -> str:
    """A time in microseconds as people read it, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z" if at else ""


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
