"""`interlock send`: messages from files to an MLLP or HTTP address, one after the other, with every answer shown.

Invariant: a message without a positive answer to itself never counts as taken, and the exit status says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Json, wrong_use
from engine.cli.output import examples, print_json, visible, warn

if TYPE_CHECKING:
    from engine.cli.wire import Line, Told


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog=examples(
            "interlock send mllp://127.0.0.1:2575 result.hl7",
            "interlock send mllps://lab.example:2575 batch.hl7 --ca lab-ca.pem --json",
            "interlock send http://127.0.0.1:8081/messages *.hl7",
        )
    )(send)


def send(
    target: Annotated[str, typer.Argument(metavar="URL", help="mllp://, mllps://, http:// or https://, with a port.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Messages, batches of them, or - to read one.")],
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for each answer.")] = 30.0,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Trust this certificate authority (PEM).")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the bearer token for HTTP.")
    ] = None,
    json: Json = False,
) -> None:
    """Send each message and print its answer. Exit 1 when an answer is negative or missing.

    A file may hold one message, several, or a batch (FHS, BHS); line ends of any kind become segment ends.
    """
    from engine.cli.wire import connect

    messages = [entry for name in files for entry in _messages(name)]
    answers = []
    token = _read(str(token_file)).decode().strip() if token_file else ""
    with connect(target, timeout, ca, token) as line:
        for name, raw in messages:
            answers.append(_exchange(line, name, raw))
            if not json:
                _show(answers[-1])
    positive = sum(answer["positive"] for answer in answers)
    if json:
        counts = {"sent": len(answers), "positive": positive, "negative": len(answers) - positive}
        print_json({"target": line.address, **counts, "answers": answers})
    elif len(answers) > 1:
        warn(f"{len(answers)} sent, {positive} taken, {len(answers) - positive} not")
    if positive < len(answers):
        raise typer.Exit(1)


def _messages(name: str) -> Iterator[tuple[str, bytes]]:
    """The messages of a file, each with where it stands; a file that is not HL7 v2 goes as it is."""
    from engine.errors import Unreadable
    from engine.formats.hl7v2 import split_batch

    raw = _read(name)
    if not raw.strip():
        raise wrong_use(f"reading {name}: it is empty")
    if raw.lstrip(b"\xef\xbb\xbf\x0b\r\n \t")[:3] not in (b"MSH", b"FHS", b"BHS"):
        yield name, raw
        return
    try:
        found = split_batch(raw)
    except Unreadable as error:
        raise wrong_use(f"reading {name}: {error.text} ({error.where})", "Mend the file; nothing was sent.") from None
    for number, message in enumerate(found, 1):
        yield name if len(found) == 1 else f"{name}#{number}", _segments(message)


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise wrong_use(f"reading {name}: {error.strerror}") from None


def _segments(raw: bytes) -> bytes:
    """Segment ends as HL7 v2 wants them on a wire, whatever an editor wrote; no frame left over from a capture."""
    raw = raw.strip(b"\x0b\x1c \t\r\n")
    return raw.replace(b"\r\n", b"\r").replace(b"\n", b"\r") + b"\r"


def _exchange(line: Line, name: str, raw: bytes) -> dict[str, Any]:
    from time import perf_counter

    begun = perf_counter()
    told: Told = line.exchange(raw)
    milliseconds = round((perf_counter() - begun) * 1000, 2)
    described = {"positive": told.positive, "code": told.code, "text": told.text}
    answer = told.answer.decode("utf-8", "replace")
    return {"file": name, "control_id": told.control_id, **described, "milliseconds": milliseconds, "answer": answer}


def _show(told: dict[str, Any]) -> None:
    mark = "ok " if told["positive"] else "NO "
    reason = f"  {told['text']}" if told["text"] else ""
    sys.stdout.write(visible(f"{mark} {told['file']}  {told['code']}  {told['milliseconds']} ms{reason}") + "\n")
    for line in visible(told["answer"]).strip().split("\n"):
        if line:
            sys.stdout.write(f"     {line}\n")
    sys.stdout.flush()
