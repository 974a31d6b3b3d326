"""`interlock simulate`: an invented laboratory and EHR, to try out an engine that runs elsewhere.

Invariant: everything they send is synthetic (MSH-11 is T, assigning authority INTERLOCK-TEST); no production channel
takes it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from engine.cli.options import wrong_use
from engine.cli.output import examples, say

_LABORATORY = "interlock simulate laboratory --to mllp://127.0.0.1:2575"
_EHR = "interlock simulate ehr --fhir 127.0.0.1:8090 --mllp 127.0.0.1:2576"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Play an invented laboratory or EHR for an engine that runs elsewhere.",
        epilog=examples(_EHR, _LABORATORY),
    )
    group.command(epilog=examples(_LABORATORY, _LABORATORY + " --pause 1"))(laboratory)
    group.command(epilog=examples(_EHR))(ehr)
    app.add_typer(group, name="simulate")


def laboratory(
    to: Annotated[str, typer.Option(metavar="URL", help="Where to send: mllp://HOST:PORT.")],
    pause: Annotated[
        float, typer.Option(min=0.0, help="Seconds between two messages of one of its four connections.")
    ] = 0.1,
) -> None:
    """Send one morning of results, each again until it is answered; exit 0 if every answer is as it must be."""
    import asyncio

    from engine.demo.simulators import run_laboratory

    scheme, _, address = to.partition("://")
    if scheme != "mllp":
        raise wrong_use("reading --to: it is not an mllp URL", "Write it as mllp://HOST:PORT.")
    if not asyncio.run(run_laboratory(*_host_port(address.rstrip("/"), "--to"), pause, _say_now)):
        raise typer.Exit(1)


def ehr(
    fhir: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where it takes FHIR transactions, at /fhir; port 0 takes any.")
    ] = "127.0.0.1:8090",
    mllp: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where it takes HL7 v2; port 0 takes any.")
    ] = "127.0.0.1:2576",
) -> None:
    """Take FHIR transactions and HL7 v2 over MLLP and keep them in memory, until SIGTERM or Ctrl-C."""
    import asyncio

    from engine.demo.simulators import run_ehr

    asyncio.run(run_ehr(_host_port(fhir, "--fhir"), _host_port(mllp, "--mllp"), _say_now))


def _host_port(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise wrong_use(f"reading {option}: it names no host and port", "Write it as HOST:PORT.")
    return host.strip("[]"), int(port)


def _say_now(text: str) -> None:
    """A line that whoever reads the pipe sees at once."""
    say(text)
    sys.stdout.flush()
