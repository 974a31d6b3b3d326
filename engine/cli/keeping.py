"""`interlock backup` and `interlock restore`: a store's copy made while it works, and put back into an empty folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Data, Json, settings
from engine.cli.output import error_console, examples, moment, print_json, say
from engine.errors import Configuration


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        epilog=examples(
            "interlock backup /backups/monday",
            "interlock backup /backups/monday --include-key     # whoever holds both can read everything",
        )
    )(backup)
    app.command(epilog=examples("interlock restore /backups/monday --data /var/lib/interlock"))(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to make: a folder that does not exist yet.")],
    include_key: Annotated[
        bool, typer.Option("--include-key", help="Copy the key file, too. Without the key nothing can be read.")
    ] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Copy the store, whether a server works on it or not. It appears only when all of it is on the disk."""
    from rich.progress import Progress

    from engine.clock import SystemClock
    from engine.store.backup import backup as copy
    from engine.store.opening import is_shared

    if is_shared(settings(data=data).store):
        raise Configuration(
            "backing up: the store is PostgreSQL, which has its own tools",
            code="setting",
            advice="Use pg_basebackup and an archive of the log, and keep the key apart: see docs/deployment.md.",
        )
    with Progress(console=error_console(), transient=True) as bar:
        task = bar.add_task("copying the store", total=None)
        manifest = copy(
            settings(data=data).data,
            file,
            SystemClock(),
            include_key=include_key,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if json:
        print_json({"backup": str(file), "taken_at": manifest.taken_at, "files": manifest.files})
        return
    say(f"{file}: the store as it was at {moment(manifest.taken_at)}")
    if not include_key:
        say("The key is not in it: keep the key file or INTERLOCK_KEY safe elsewhere, or the backup stays sealed.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `interlock backup` made.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a data folder from a backup; the folder must be empty or absent, and no server may run on it."""
    from engine.store.backup import restore as put_back

    chosen = settings(data=data)
    manifest = put_back(file, chosen.data, chosen.key)
    if json:
        print_json({"restored": str(chosen.data), "taken_at": manifest.taken_at, "files": manifest.files})
        return
    say(f"{chosen.data}: the store as it was at {moment(manifest.taken_at)}")
    say(
        "What was received since is not in it, though its senders hold our answer: ask them to send again from then on."
    )
