"""What the demo shows: a live table on a terminal, a line for each change of the story elsewhere.

It shows the engine's own counts, as GET /v1/channels gives them, and computes none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

#: the states shown: those of messages first, then those of deliveries, `held` and `accepted` being both
STATES = ("received", "duplicate", "accepted", "held", "queued", "claimed", "in doubt", "dead", "delivered")

Counts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of the story and what was found."""

    what: str
    expected: int | str
    found: int | str

    @property
    def kept(self) -> bool:
        """Whether it came as expected."""
        return self.expected == self.found


def channels_table(channels: Sequence[Counts]) -> Table:
    """Messages of each channel and deliveries of each destination, by state."""
    grid = Table(
        title="What the engine accounts for", title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False
    )
    grid.add_column("", no_wrap=True)
    for state in STATES:
        grid.add_column(state.replace(" ", "\n"), justify="right")  # so that all of it fits 80 columns
    for channel in channels:
        grid.add_row(Text(str(channel["name"]), style="bold"), *_cells(channel))
        for destination in channel.get("destinations", ()):
            grid.add_row(f" → {destination['name']}", *_cells(destination))
    return grid


def _cells(place: Counts) -> list[str]:
    return ["" if (count := count_of(place, state)) is None else str(count) for state in STATES]


def count_of(place: Counts, state: str) -> int | None:
    """One count of a channel or destination; None where the state does not exist at that level."""
    count = place["counts"].get(state)
    return count if isinstance(count, int) else None


def checks_table(checks: Sequence[Check]) -> Table:
    """What was expected of the run, and what came."""
    grid = Table(title="What was expected", title_justify="left")
    grid.add_column("")
    grid.add_column("expected", justify="right")
    grid.add_column("found", justify="right")
    grid.add_column("")
    for check in checks:
        verdict = Text("yes", style="green") if check.kept else Text("NO", style="bold red")
        grid.add_row(check.what, str(check.expected), str(check.found), verdict)
    return grid


class Screen:
    """Tells the story. On a terminal the counts stay in view and change in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.channels: Sequence[Counts] = ()
        self.status = ""
        self._live = Live(self._view(), console=console, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Screen:
        """Begin to show."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state in view."""
        if self._live:
            self._live.update(self._view(), refresh=True)
            self._live.stop()
        elif self.channels:
            self.console.print(self._view())

    def say(self, text: str) -> None:
        """One line of the story."""
        self.console.print(text, soft_wrap=True, highlight=False)

    def show(self, channels: Sequence[Counts], status: str) -> None:
        """The counts as they are now, and how far the story is."""
        self.channels, self.status = channels, status
        if self._live:
            self._live.update(self._view())

    def _view(self) -> RenderableType:
        if not self.channels:
            return Text(self.status or "starting")
        return Group(channels_table(self.channels), Text(self.status))
