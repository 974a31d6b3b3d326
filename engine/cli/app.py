"""Puts the command line together: the engine's own commands, then what installed packages add.

Invariant: `interlock --help` imports no part of the engine that does work, and a package whose commands cannot be
loaded is named and left out, never fatal.
"""

from __future__ import annotations

import typer

from engine.cli import (
    channels,
    checking,
    converting,
    keeping,
    looking,
    migrating,
    retiring,
    sending,
    serving,
    showing,
    simulating,
)
from engine.cli.output import examples, warn

COMMAND_GROUP = "interlock.commands"


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="interlock",
        help="A clinical interface engine: messages kept before they are answered, delivered in order, accounted for.",
        epilog=examples(
            "interlock demo --once",
            "interlock serve --channels ./channels --data ./data",
            "interlock search --state held",
        ),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,  # a traceback with local variables would show patients' data
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    for module in (
        showing, simulating, serving, checking, channels, sending, converting, looking, keeping, retiring, migrating,
    ):  # fmt: skip
        module.add_to(app)
    _add_plugins(app)
    return app


def _add_plugins(app: typer.Typer) -> None:
    """Each entry point is a Typer application: its name is the command's."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda point: point.name):
        try:
            app.add_typer(point.load(), name=point.name)
        except Exception as error:  # a foreign package may raise anything when it is imported
            warn(f"the commands of {point.name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}")
