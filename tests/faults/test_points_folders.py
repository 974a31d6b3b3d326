"""Killed while it reads, writes and puts aside files, in folders and over SFTP: absent or complete, and never lost.

The laboratory drops files; the receiver's files are read back in the order in which they were written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.connectors import files, sftp
from engine.errors import Reply
from engine.model import Answer, Verdict
from engine.wiring import SourceSpec
from tests.contract.connectors.harness_sftp import SshServer

from .engine_child import Engine, channel_toml, destination_toml
from .laboratory import Laboratory, Where, control_of
from .ledger import Figures, Oracle, Way
from .sinks import Arrival
from .sites import KILLED, drained

FILES = {
    "files.write.before": 5, "files.write.after": 5, "files.sync.before": 5, "files.sync.after": 5,
    "files.rename.before": 5, "files.rename.after": 5, "files.folder_sync.before": 5, "files.folder_sync.after": 5,
    "files.aside.before": 5, "files.aside.after": 5, "files.aside_sync.before": 5, "files.aside_sync.after": 5,
}  # fmt: skip
SFTP = {
    "sftp.write.before": 5, "sftp.write.after": 5, "sftp.sync.before": 5, "sftp.sync.after": 5,
    "sftp.rename.before": 5, "sftp.rename.after": 5, "sftp.aside.before": 5, "sftp.aside.after": 5,
}  # fmt: skip
#: A server that has never heard of posix-rename.
SFTP_PLAIN = {"sftp.plain_rename.before": 3, "sftp.plain_rename.after": 3}
#: The second kill: the file of an attempt in doubt is already there.
PRESENT = ("files.present_sync.before", "files.present_sync.after")
#: Another file came under a name while the first was being taken.
GIVEN_BACK = ("files.give_back.before", "files.give_back.after", "sftp.give_back.before", "sftp.give_back.after")
POINTS = {*FILES, *SFTP, *SFTP_PLAIN, *PRESENT, *GIVEN_BACK}
PATIENTS, PLACES = 6, 4
OPTIONS = 'options = {{ every = "5ms", stable = "0s"{} }}\n'


class Folders:
    """One channel from a folder to a folder, both below `root`; `server` serves them where it is SFTP."""

    def __init__(self, folder: Path, server: SshServer | None) -> None:
        self.engine = Engine(folder)
        self.figures = Figures()
        self.laboratory = Laboratory("R", Where())
        self.book = self.laboratory.book
        self.root = server.root if server else folder
        self.inbox, self.outbox = self.root / "in", self.root / "out"
        self.inbox.mkdir()
        self.outbox.mkdir()
        self.engine.write_channel("drop", self._sftp(server) if server else self._files())

    def _files(self) -> str:
        destination = destination_toml("box", f"files://{self.outbox}")
        return channel_toml("drop", destination, listen=f"files://{self.inbox}", source=OPTIONS.format(""))

    def _sftp(self, server: SshServer) -> str:
        url = f"sftp://interlock@127.0.0.1:{server.port}"
        trust = f'fingerprint = "{server.options["fingerprint"]}"'
        secret = f"file:{server.root}/secret"
        destination = destination_toml("box", f"{url}/out", secret=f'"{secret}"', options=f"{{ {trust} }}")
        source = OPTIONS.format(f', {trust}, secret = "{secret}"')
        return channel_toml("drop", destination, listen=f"{url}/in", source=source)

    def drop(self, first_place: int) -> None:
        """Put files of every patient into the inbox, each complete under its name, the lanes in order."""
        for place in range(first_place, first_place + PLACES):
            for patient in range(PATIENTS):
                message = self.laboratory.write(f"RP{patient:03}", place)
                hidden = self.inbox / f".{message.control}"
                hidden.write_bytes(message.raw)
                hidden.rename(self.inbox / f"{message.control}.hl7")

    async def taken(self) -> None:
        """Wait until every file has been put aside as done; that is the acknowledgement."""
        async with asyncio.timeout(30):
            while len(list((self.inbox / "done").glob("R*.hl7"))) < len(self.book.sent):
                await asyncio.sleep(0.01)
        self.book.acknowledged = dict.fromkeys(self.book.sent, 0.0)

    async def killed(self, point: str) -> None:
        status = await self.engine.died()
        assert status == KILLED, f"{point} did not fire: {status}\n{self.engine.log.read_text()[-2000:]}"
        self.figures.kills += 1

    async def account(self) -> Figures:
        """Everything taken and delivered, nothing half written under its name, and the oracle content."""
        await self.taken()
        await drained(self.engine)
        assert await self.engine.stop() == 0
        assert not [path for path in self.inbox.glob("*.hl7")]
        written = sorted(self.outbox.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns)
        arrivals = [Arrival(control_of(path.read_bytes()), path.read_bytes(), 0.0, 0) for path in written]
        return Oracle(self.engine, self.figures).check([Way("drop", "box", self.book, arrivals, verbatim=True)])


async def folders(folder: Path, over_sftp: bool, *points: str, without: str = "") -> Figures:
    """Kill at each point in turn, dropping more files before each start, then account."""
    async with AsyncExitStack() as stack:
        server = None
        if over_sftp:
            (folder / "remote").mkdir()
            server = SshServer(folder / "remote")
            await server.up()
            stack.push_async_callback(server.down)
            server.show(*[without] * 100 if without else ())
        made = Folders(folder, server)
        stack.callback(made.engine.end)
        for number, point in enumerate(points):
            made.drop(1 + number * PLACES)
            await made.engine.start(point)
            await made.killed(point)
        made.drop(1 + len(points) * PLACES)
        assert await made.engine.start()
        return await made.account()


def run(record: Callable[[str, object], None], scenario: Any) -> None:
    record("figures", {"group": "kills", **asyncio.run(scenario).as_dict()})


@pytest.mark.parametrize("point", FILES)
def test_killed_between_two_folders(tmp_path: Path, point: str, record_property: Callable[[str, object], None]) -> None:
    run(record_property, folders(tmp_path, False, f"{point}:{FILES[point]}"))


@pytest.mark.parametrize("point", PRESENT)
def test_killed_again_where_the_file_is_there_already(
    tmp_path: Path, point: str, record_property: Callable[[str, object], None]
) -> None:
    run(record_property, folders(tmp_path, False, "files.rename.after:5", f"{point}:1"))


@pytest.mark.parametrize("point", SFTP)
def test_killed_over_sftp(tmp_path: Path, point: str, record_property: Callable[[str, object], None]) -> None:
    run(record_property, folders(tmp_path, True, f"{point}:{SFTP[point]}"))


@pytest.mark.parametrize("point", SFTP_PLAIN)
def test_killed_where_the_server_knows_only_a_plain_rename(
    tmp_path: Path, point: str, record_property: Callable[[str, object], None]
) -> None:
    run(record_property, folders(tmp_path, True, f"{point}:{SFTP_PLAIN[point]}", without="unsupported"))


WATCH = """
import asyncio, os, sys
from engine.connectors import files, sftp
from engine.errors import Reply
from engine.model import Answer, Verdict
from engine.wiring import SourceSpec
url, secret, fingerprint, file = sys.argv[1:]
async def run():
    async def accept(raw, arrival):
        os.rename(file + ".second", file)
        return Answer(Verdict(Reply.ACCEPT))
    options = {"stable": "0s", "every": "5ms", "glob": "*.hl7"}
    if secret:
        options |= {"secret": secret, "fingerprint": fingerprint}
    await (sftp if secret else files).source("c", SourceSpec(url, options=options)).start(accept)
    await asyncio.Event().wait()
asyncio.run(run())
"""


@pytest.mark.parametrize("point", GIVEN_BACK)
def test_a_file_that_replaced_another_is_offered(tmp_path: Path, point: str) -> None:
    """The second file is moved with the first one's name before it was ever read: it must still be somewhere."""

    async def scenario() -> list[bytes]:
        server = SshServer(tmp_path)
        await server.up()
        try:
            return await replaced(tmp_path, point, server)
        finally:
            await server.down()

    offered = asyncio.run(scenario())
    everywhere = {path.read_bytes() for path in tmp_path.rglob("*.hl7") if path.is_file()}
    assert b"second, longer" in everywhere
    if point.endswith(".after"):
        assert offered == [b"second, longer"]


async def replaced(folder: Path, point: str, server: SshServer) -> list[bytes]:
    """Kill at the point, then watch the folder again: what is offered now."""
    inbox = folder / "in"
    inbox.mkdir()
    (inbox / "a.hl7").write_bytes(b"first")
    (inbox / "a.hl7.second").write_bytes(b"second, longer")
    remote = point.startswith("sftp")
    url = f"sftp://interlock@127.0.0.1:{server.port}/in" if remote else f"files://{inbox}"
    secret = f"file:{folder}/secret" if remote else ""
    engine = Engine(folder)
    words = ("-c", WATCH, url, secret, str(server.options["fingerprint"]), str(inbox / "a.hl7"))
    assert await asyncio.to_thread(engine.run_python, *words, failpoint=point) == KILLED
    options = {"stable": "0s", "every": "5ms", "glob": "*.hl7"}
    if remote:
        options |= {"secret": secret, "fingerprint": str(server.options["fingerprint"])}
    offered: list[bytes] = []
    came = asyncio.Event()

    async def accept(raw: bytes, arrival: Any) -> Answer:
        offered.append(raw)
        came.set()
        return Answer(Verdict(Reply.ACCEPT))

    source = (sftp if remote else files).source("c", SourceSpec(url, options=dict(options)))
    await source.start(accept)
    if point.endswith(".after"):
        await asyncio.wait_for(came.wait(), 20)
    await source.stop()
    return offered
