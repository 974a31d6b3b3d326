"""What is wrong with a channel, and where: file, line, what it is and what to write instead.

Every fault is collected, not only the first: an analyst mends a channel in one round.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from engine.channels.toml_lines import KeyPath, Lines

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One finding. An error keeps the channel from running; a warning is shown and does not."""

    file: str
    line: int
    text: str
    suggestion: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        """One line, as editors and compilers write it, so that both can jump to it."""
        warning = "warning: " if self.severity == "warning" else ""
        return f"{self.file}:{self.line}: {warning}{self.text}" + (f"; {self.suggestion}" if self.suggestion else "")


@dataclass(slots=True)
class Faults:
    """Collects the faults of one file; a path says where, the lines say on which line."""

    file: str
    lines: Lines
    found: list[Fault] = field(default_factory=list)

    def error(self, path: KeyPath, text: str, suggestion: str = "") -> None:
        """A fault that keeps the channel from running."""
        self.found.append(Fault(self.file, self.lines.line(path), text, suggestion))

    def warning(self, path: KeyPath, text: str, suggestion: str = "") -> None:
        """A finding that does not keep the channel from running."""
        self.found.append(Fault(self.file, self.lines.line(path), text, suggestion, "warning"))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known words as a suggestion, or all of them when they are few, or nothing."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return "one of " + ", ".join(f'"{w}"' for w in words) if 0 < len(words) <= 12 else ""


def errors(faults: Iterable[Fault]) -> list[Fault]:
    """Those that keep a channel from running."""
    return [fault for fault in faults if fault.severity == "error"]
