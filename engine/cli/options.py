"""Options that several commands share, and the settings that come of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import Configuration

if TYPE_CHECKING:
    from engine.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data folder. [default: ./data, or INTERLOCK_DATA]"),
]
Channels = Annotated[
    Path | None,
    typer.Option(
        "--channels", metavar="DIR", help="The folder of channels. [default: ./channels, or INTERLOCK_CHANNELS]"
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who look later: it is recorded.")]


def settings(**overrides: Any) -> Settings:
    """The settings of this command: environment first, then its options.

    Raises:
        Configuration: (exit 2) naming every one that cannot be read.
    """
    from engine.settings import load

    return load(os.environ, **overrides)


def wrong_use(text: str, advice: str = "") -> Configuration:
    """An error that ends the command with status 2."""
    return Configuration(text, code="usage", advice=advice)


def comes_later(what: str, advice: str) -> Configuration:
    """A refusal of what the contract names and this version does not have (exit 2)."""
    return Configuration(f"{what} is not part of this version: it comes later", code="comes_later", advice=advice)
