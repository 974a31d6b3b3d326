"""SFTP against a real server: pinned keys, credentials, and what is beyond the contract suite."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from contract.connectors.harness_sftp import HOST_KEY, SshServer

from engine.connectors import sftp
from engine.connectors.sftp_session import read_place
from engine.errors import Configuration, Weight
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec, SourceSpec

SENDING = Sending("0000000000001", "00000000000ab", 1, "c", "d", "application/json")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")


def deliver(folder: Path, *behaviours: str, options: Any = None, secret: str = "", times: int = 1) -> list[Outcome]:
    async def run() -> list[Outcome]:
        server = SshServer(folder)
        (folder / "out").mkdir(exist_ok=True)
        await server.up()
        server.show(*behaviours)
        spec = DestinationSpec(
            "d",
            f"sftp://interlock@127.0.0.1:{server.port}/out",
            secret=secret or f"file:{folder}/secret",
            options=server.options if options is None else options,
        )
        destination = sftp.destination("c", spec)
        outcomes = [await destination.deliver(b"new", SENDING) for _ in range(times)]
        await destination.close()
        await server.down()
        return outcomes

    return asyncio.run(run())


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


def test_a_resend_is_the_same_file(tmp_path: Path) -> None:
    assert [outcome.code for outcome in deliver(tmp_path, times=2)] == ["written", "present"]
    assert files_in(tmp_path) == ["00000000000ab.json"]


def test_another_file_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/00000000000ab.json").write_bytes(b"old")
    assert deliver(tmp_path)[0].code == "name_taken"
    assert (tmp_path / "out/00000000000ab.json").read_bytes() == b"old"


def test_a_server_without_posix_rename_is_served_too(tmp_path: Path) -> None:
    assert deliver(tmp_path, "unsupported")[0].taken
    assert files_in(tmp_path) == ["00000000000ab.json"]


def test_after_a_cut_at_the_rename_the_resend_finds_it(tmp_path: Path) -> None:
    outcomes = deliver(tmp_path, "cut at the rename", times=2)
    assert [outcome.weight for outcome in outcomes] == [Weight.AMBIGUOUS, None]
    assert outcomes[1].code == "present"


def test_another_host_key_gets_nothing(tmp_path: Path) -> None:
    (outcome,) = deliver(tmp_path, options={"fingerprint": OTHER_KEY.get_fingerprint()})
    assert (outcome.code, outcome.unreachable) == ("host_key", True)
    assert files_in(tmp_path) == []


def test_a_known_hosts_file_pins_as_well(tmp_path: Path) -> None:
    for key, taken in ((HOST_KEY, True), (OTHER_KEY, False)):
        line = b"127.0.0.1,[127.0.0.1]:* " + key.export_public_key()
        (tmp_path / "known_hosts").write_bytes(line)
        assert deliver(tmp_path, options={"known_hosts": f"{tmp_path}/known_hosts"})[0].taken is taken


def test_a_wrong_password_waits_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    (outcome,) = deliver(tmp_path, secret=f"file:{tmp_path}/wrong")
    assert (outcome.code, outcome.unreachable) == ("sign_in_refused", True)
    assert "wrong" not in outcome.detail


@pytest.mark.parametrize("options", [{}, {"fingerprint": "MD5:aa"}, {"fingerprint": "SHA256:short"}])
def test_without_a_pinned_key_there_is_no_connector(options: dict[str, Any]) -> None:
    with pytest.raises(Configuration):
        sftp.destination("c", DestinationSpec("d", "sftp://u@h/x", secret="env:X", options=options))
    with pytest.raises(Configuration):
        sftp.source("c", SourceSpec("sftp://u@h/x", options={**options, "secret": "env:X"}))


def test_without_a_secret_there_is_no_connector() -> None:
    with pytest.raises(Configuration, match="secret"):
        sftp.destination("c", DestinationSpec("d", "sftp://u@h/x", options={"fingerprint": HOST_KEY.get_fingerprint()}))


@pytest.mark.parametrize(
    "url", ["sftp://h/x", "sftp://u:p@h/x", "sftp://u@h", "sftp://u@h/", "sftp://u@h:x/y", "ftp://u@h/x"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(Configuration):
        read_place(url, "c")


def test_a_source_that_cannot_sign_in_says_why(tmp_path: Path) -> None:
    async def run() -> None:
        server = SshServer(tmp_path)
        await server.up()
        (tmp_path / "wrong").write_text("wrong")
        options = {**server.options, "secret": f"file:{tmp_path}/wrong"}
        source = sftp.source("c", SourceSpec(f"sftp://interlock@127.0.0.1:{server.port}/in", options=options))
        with pytest.raises(Configuration, match="sign_in_refused"):
            await source.start(lambda raw, arrival: asyncio.sleep(0))  # type: ignore[arg-type,return-value]
        await server.down()

    asyncio.run(run())
