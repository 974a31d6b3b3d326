"""The commands against a real server: started as an operator starts it, asked as scripts ask it, ended by a signal."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

CHANNEL = """\
name = "relay"
title = "Relay to a folder"
class = "result"
environment = "{environment}"

[source]
listen = "mllp://127.0.0.1:0"
accept = ["ORU^R01"]

[[destination]]
name = "folder"
to = "files://{folder}"
"""
MESSAGE = (
    "MSH|^~\\&|LAB|INTERLOCK-TEST|EHR|INTERLOCK-TEST|20260105120000||ORU^R01^ORU_R01|{id}|{processing}|2.5.1\n"
    "PID|1||P1^^^INTERLOCK-TEST^MR||Willow^Wendy\n"
    "OBR|1|O1|F1|K^Potassium^L\n"
    "OBX|1|NM|K^Potassium^L||5.1|mmol/L|||||F\n"
)
SECONDS = 60


class Site:
    """A folder with a channel, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.channels, self.data, self.out = folder / "channels", folder / "data", folder / "out"
        self.out.mkdir()
        self.process: subprocess.Popen[str] | None = None
        self.token = self.ready = ""
        self.write_channel("relay")

    def write_channel(self, name: str, environment: str = "test") -> None:
        (self.channels / name).mkdir(parents=True, exist_ok=True)
        text = CHANNEL.format(folder=self.out, environment=environment).replace('"relay"', f'"{name}"')
        (self.channels / name / "channel.toml").write_text(text)

    def write_message(self, control_id: str, processing: str = "T") -> Path:
        file = self.folder / f"{control_id}.hl7"
        file.write_text(MESSAGE.format(id=control_id, processing=processing))
        return file

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "engine.cli", *map(str, words), "--data", str(self.data)]

    def ask(self, *words: object, status: int = 0) -> Any:
        """Run a command with --json, hold it to its exit status, and give its document."""
        ran = subprocess.run(
            self.command(*words, "--json"), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def send(self, *files: Path, status: int = 0) -> Any:
        words = [sys.executable, "-m", "engine.cli", "send", self.address(), *map(str, files), "--json"]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ran.returncode == status, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def address(self, name: str = "relay") -> str:
        channels = self.ask("channel", "list")["channels"]
        return str(next(channel["address"] for channel in channels if channel["name"] == name))

    def start(self, *words: object, environment: dict[str, str] | None = None) -> None:
        """Start the server and read its output up to the line that says it is ready."""
        command = self.command("serve", "--channels", self.channels, "--http", "127.0.0.1:0", *words)
        with (self.folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=err, text=True, env=os.environ | (environment or {})
            )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        found = [word for word in self.errors().split() if word.startswith("ilk_")]
        self.token = found[0] if found else self.token

    def stop(self, number: int = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            status = process.wait(SECONDS)
        finally:
            process.kill()
            out: IO[str] | None = process.stdout
            self.rest = out.read() if out else ""
            if out:
                out.close()
        return status

    def errors(self) -> str:
        return (self.folder / "err").read_text()

    def get(self, path: str) -> Any:
        address = next(word for word in self.ready.replace(",", " ").split() if word.startswith("http://"))
        request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.stop()


def delivered(site: Site, control_id: str) -> str:
    """The id of a message, once its delivery has ended: the API is asked until it has."""
    import time

    for _ in range(SECONDS * 20):
        for message in site.get(f"/v1/messages?control_id={control_id}&state=delivered")["messages"]:
            return str(message["id"])
        time.sleep(0.05)
    raise AssertionError(f"{control_id} was not delivered")


def test_a_message_goes_from_send_to_trace(site: Site) -> None:
    site.start()
    assert site.ready.startswith("interlock 0.")
    assert site.ready.endswith(", 1 channel\n")
    answer = site.send(site.write_message("M1"))
    assert [told["code"] for told in answer["answers"]] == ["AA"]
    number = delivered(site, "M1")
    shown = site.ask("trace", number)
    assert shown["deliveries"][0]["state"] == "delivered"
    assert shown["raw"].startswith("MSH|")
    assert len([file for file in site.out.rglob("*") if file.is_file()]) == 1
    assert site.get(f"/v1/messages/{number}")["raw"] == shown["raw"]
    (channel,) = site.get("/v1/channels")["channels"]
    assert channel["destinations"][0]["counts"]["delivered"] == 1
    assert site.ask("balance")["open"] is False
    assert site.get("/readyz")["ready"] is True
    assert site.stop() == 0
    assert site.rest == ""
    assert site.ask("balance")["open"] is False


def test_what_is_refused_and_what_repeats(site: Site) -> None:
    site.start()
    file = site.write_message("M1")
    assert site.send(file)["positive"] == 1
    assert site.send(file)["positive"] == 1
    wrong = site.folder / "wrong.hl7"
    wrong.write_text(MESSAGE.format(id="M2", processing="T").replace("ORU^R01^ORU_R01", "ADT^A01"))
    assert site.send(wrong, status=1)["answers"][0]["code"].startswith("AR")
    states = {message["state"] for message in site.ask("search", "--since", "1h")["messages"]}
    assert states == {"accepted", "duplicate", "refused"}


def test_the_token_is_printed_once_and_only_its_hash_stays(site: Site) -> None:
    site.start()
    assert site.token
    assert site.get("/v1/channels")["channels"]
    assert stat.S_IMODE((site.data / "control.sock").stat().st_mode) == 0o600
    site.stop()
    assert not any(site.token.encode() in file.read_bytes() for file in site.data.iterdir() if file.is_file())
    site.start()
    assert "ilk_" not in site.errors()
    assert site.get("/v1/channels")["channels"]
    good, site.token = site.token, "ilk_wrong"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        site.get("/v1/channels")
    assert good not in site.errors()


def test_production_messages_wait_for_the_agreement_which_is_kept(site: Site) -> None:
    site.write_channel("relay", "production")
    site.start()
    assert "--agreements-in-place" in site.send(site.write_message("P1", "P"), status=1)["answers"][0]["answer"]
    site.stop()
    site.start("--agreements-in-place")
    assert site.send(site.write_message("P2", "P"))["positive"] == 1
    site.stop()
    site.start()
    assert site.send(site.write_message("P3", "P"))["positive"] == 1


def test_channels_are_paused_started_and_reloaded_while_it_runs(site: Site) -> None:
    site.start()
    site.ask("channel", "pause", "relay", "--reason", "maintenance")
    (channel,) = site.ask("channel", "list")["channels"]
    assert (channel["state"], channel["address"]) == ("paused", "")
    site.stop()
    site.start()
    assert site.ask("channel", "list")["channels"][0]["state"] == "paused"
    site.ask("channel", "start", "relay")
    assert site.send(site.write_message("M1"))["positive"] == 1
    site.write_channel("second")
    assert site.ask("reload")["added"] == ["second"]
    (site.channels / "second" / "channel.toml").write_text("nonsense = 1\n")
    changes = site.ask("reload", status=1)
    assert changes["kept"] == ["second"]
    assert changes["faults"]
    (site.channels / "second" / "channel.toml").unlink()
    (site.channels / "second").rmdir()
    assert site.ask("reload")["removed"] == ["second"]


def test_a_hangup_reloads(site: Site) -> None:
    import time

    site.start()
    site.write_channel("second")
    assert site.process is not None
    site.process.send_signal(signal.SIGHUP)
    for _ in range(SECONDS):
        assert site.process.poll() is None
        if len(site.ask("channel", "list")["channels"]) == 2:
            return
        time.sleep(0.05)
    raise AssertionError("the new channel was not taken")


def test_a_held_message_is_replayed_through_the_server(site: Site) -> None:
    site.start()
    broken = site.folder / "broken.hl7"
    broken.write_bytes(b"MSH|^~\\&|LAB\rnot a segment \x00|\r")
    site.send(broken, status=1)
    letters = site.ask("deadletter", "list")["letters"]
    assert [letter["state"] for letter in letters] == ["held"]
    number = letters[0]["id"]
    assert site.ask("deadletter", "show", number)["reasons"]
    site.ask("deadletter", "replay", number, "--reason", "once more")
    (again,) = site.ask("deadletter", "list")["letters"]
    assert again["id"] != number
    assert site.ask("trace", number)["message"]["state"] == "ended"
    assert site.ask("deadletter", "end", again["id"], "--reason", "the laboratory sends it anew")["code"] == "ended"
    assert site.ask("deadletter", "list")["letters"] == []
    assert site.ask("balance")["open"] is False


def test_one_server_owns_a_data_folder(site: Site) -> None:
    site.start()
    words = site.command("serve", "--channels", site.channels, "--http", "127.0.0.1:0")
    second = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert second.returncode == 1
    assert second.stdout == ""
    assert "another process" in second.stderr


def test_faulty_channels_are_told_loudly_and_the_sound_ones_run(site: Site) -> None:
    (site.channels / "broken").mkdir()
    (site.channels / "broken" / "channel.toml").write_text("nonsense = 1\n")
    site.start()
    assert "1 channel, 1 left out" in site.ready
    assert "broken/channel.toml:1" in site.errors()
    assert site.send(site.write_message("M1"))["positive"] == 1


def test_without_a_sound_channel_it_does_not_start(site: Site) -> None:
    (site.channels / "relay" / "channel.toml").write_text("nonsense = 1\n")
    site.start()
    assert site.ready == ""
    assert site.process is not None
    assert site.process.wait(SECONDS) == 1
    assert "relay/channel.toml:1" in site.errors()


def test_ready_can_be_a_line_of_json_and_strays_are_named(site: Site) -> None:
    site.start("--json", environment={"INTERLOCK_DISK_RESERV": "1GiB"})
    ready = json.loads(site.ready)
    assert ready["ready"] is True
    assert ready["channels"][0]["name"] == "relay"
    assert "did you mean INTERLOCK_DISK_RESERVE?" in site.errors()
    site.stop()


def test_backup_while_it_runs(site: Site) -> None:
    site.start()
    site.send(site.write_message("M1"))
    site.ask("backup", site.folder / "backup", "--include-key")
    site.stop()
    site.data = site.folder / "restored"
    site.ask("restore", site.folder / "backup")
    assert site.ask("balance")["open"] is False
