"""Settings come from the environment and from the command line, each in its type; a misspelt one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import Configuration
from engine.settings import Settings, load, manifest, unknown

DOC = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_defaults_run_on_a_laptop() -> None:
    settings = load({})
    assert settings == Settings()
    assert settings.channels == Path("channels")
    assert settings.token_file == Path("data/http-token")
    assert not settings.agreements_in_place
    assert settings.disk_reserve == 256 << 20


def test_the_environment_is_read_in_each_type() -> None:
    settings = load(
        {
            "INTERLOCK_DATA": "/var/lib/interlock",
            "INTERLOCK_AGREEMENTS_IN_PLACE": "Yes",
            "INTERLOCK_DISK_RESERVE": "1GiB",
            "INTERLOCK_GRACE_SECONDS": "5",
            "INTERLOCK_TABLES": os.pathsep.join(["/a", "/b"]),
            "INTERLOCK_ROLE": "worker",
        }
    )
    assert (settings.agreements_in_place, settings.disk_reserve, settings.grace_seconds) == (True, 1 << 30, 5)
    assert settings.tables == (Path("/a"), Path("/b"))
    assert settings.role == "worker"


def test_what_is_given_on_the_command_line_wins() -> None:
    settings = load({"INTERLOCK_HTTP": "0.0.0.0:1"}, http="127.0.0.1:2", data=Path("x"), store=None)
    assert settings.http == "127.0.0.1:2"
    assert settings.data == Path("x")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("INTERLOCK_ROLE", "boss", "INTERLOCK_ROLE: expected one of all, ingress, worker, web"),
        ("INTERLOCK_HTTP", "9999", "INTERLOCK_HTTP: expected HOST:PORT"),
        ("INTERLOCK_HTTP", "localhost:70000", "INTERLOCK_HTTP: expected HOST:PORT"),
        ("INTERLOCK_GRACE_SECONDS", "-1", "INTERLOCK_GRACE_SECONDS: expected a whole number"),
        ("INTERLOCK_DISK_RESERVE", "lots", "INTERLOCK_DISK_RESERVE: a size is a number"),
        ("INTERLOCK_AGREEMENTS_IN_PLACE", "maybe", 'INTERLOCK_AGREEMENTS_IN_PLACE: expected "true" or "false"'),
    ],
)
def test_a_wrong_value_is_named_without_the_value(variable: str, value: str, says: str) -> None:
    with pytest.raises(Configuration) as raised:
        load({variable: value})
    assert says in str(raised.value)
    assert value not in str(raised.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(Configuration) as raised:
        load({"INTERLOCK_ROLE": "boss"}, http="x")
    assert "INTERLOCK_ROLE" in str(raised.value)
    assert "--http" in str(raised.value)


def test_an_override_that_is_no_setting_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="htp"):
        load({}, htp="x")


def test_a_misspelt_variable_is_reported_with_the_nearest() -> None:
    environ = {"INTERLOCK_CHANELS": "x", "INTERLOCK_DATA": "y", "INTERLOCK_SHARED": "z", "HOME": "/"}
    assert unknown(environ) == ["INTERLOCK_CHANELS is not a setting; did you mean INTERLOCK_CHANNELS?"]


def test_the_key_is_not_shown() -> None:
    settings = load({"INTERLOCK_KEY": "hunter2"})
    assert settings.key == "hunter2"
    assert "hunter2" not in repr(settings)
    assert [setting.name for setting in manifest() if setting.secret] == ["store", "broker", "key"]


def test_the_documentation_lists_every_setting_as_it_is() -> None:
    rows = [line for line in DOC.read_text("utf-8").splitlines() if line.startswith("| `")]
    expected = [
        f"| `{s.name}` | `{s.variable}` | {s.type} | {f'`{s.default}`' if s.default else '–'} | {s.meaning} |"
        for s in manifest()
    ]
    assert rows == expected
