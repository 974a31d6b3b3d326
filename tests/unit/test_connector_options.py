"""A connector's knobs: what is read, what is refused, and what the refusal advises."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Configuration
from engine.knobs import Knob, read_options

KNOBS = (
    Knob("note", "text", "", "a text"),
    Knob("peers", "list", "", "several"),
    Knob("end", "choice", "strict", "one of two", ("strict", "lenient")),
    Knob("connections", "count", 3, "how many"),
    Knob("share", "number", 0.5, "how much"),
    Knob("tls", "flag", False, "whether"),
    Knob("idle", "duration", "10m", "how long"),
    Knob("size", "size", "1KiB", "how much"),
    Knob("ca", "file", "", "where"),
)


def test_defaults() -> None:
    assert read_options({}, KNOBS, "c") == {
        "note": "",
        "peers": (),
        "end": "strict",
        "connections": 3,
        "share": 0.5,
        "tls": False,
        "idle": 600_000_000,
        "size": 1024,
        "ca": None,
    }


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("note", " a ", " a "),
        ("peers", "10.0.0.1, ::1,", ("10.0.0.1", "::1")),
        ("end", "lenient", "lenient"),
        ("connections", 0, 0),
        ("share", 1, 1.0),
        ("tls", True, True),
        ("idle", "250ms", 250_000),
        ("size", "2MiB", 2 << 20),
        ("ca", "/etc/ca.pem", Path("/etc/ca.pem")),
    ],
)
def test_what_is_given_is_read_to_its_kind(name: str, given: str | int | float | bool, read: object) -> None:
    assert read_options({name: given}, KNOBS, "c")[name] == read


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("note", 1),
        ("peers", 5),
        ("end", "loose"),
        ("end", 1),
        ("connections", -1),
        ("connections", True),
        ("connections", 1.5),
        ("share", "half"),
        ("share", False),
        ("tls", "yes"),
        ("tls", 1),
        ("idle", 10),
        ("idle", "10"),
        ("idle", ""),
        ("size", "many"),
        ("ca", 7),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_without_being_shown(name: str, given: str | int | float | bool) -> None:
    with pytest.raises(Configuration, match=f'option "{name}"') as caught:
        read_options({name: given}, KNOBS, "channel.toml:7")
    assert caught.value.where == "channel.toml:7"
    assert caught.value.advice.startswith(f"{name}: ")
    assert "loose" not in caught.value.text


@pytest.mark.parametrize(
    ("name", "advice"),
    [("connection", 'Did you mean "connections"?'), ("idel", 'Did you mean "idle"?'), ("colour", "It takes: ca, ")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, advice: str) -> None:
    with pytest.raises(Configuration, match=f'no option "{name}"') as caught:
        read_options({name: 1}, KNOBS, "c")
    assert caught.value.advice.startswith(advice)


def test_no_knobs_at_all() -> None:
    with pytest.raises(Configuration) as caught:
        read_options({"a": 1}, (), "c")
    assert caught.value.advice == "It takes: no options."
