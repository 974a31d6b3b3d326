"""Every setting of a process: its name, type, default and meaning, in one place.

A setting is frozen once loaded, and a misspelt INTERLOCK_ variable is reported, never silently ignored.
"""

# ruff: noqa: RUF009 -- `_setting` is `dataclasses.field` with the words of one setting, not a value computed once

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.durations import read_size
from engine.errors import Configuration
from engine.ports import Role

PREFIX = "INTERLOCK_"

#: Variables that begin like settings and are not: the test suite reads them.
NOT_SETTINGS = frozenset({"INTERLOCK_SHARED", "INTERLOCK_TEST_POSTGRES", "INTERLOCK_TEST_REDIS"})


def _text(text: str) -> str:
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(_path(part) for part in text.split(os.pathsep) if part)


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError('expected "true" or "false"')


def _whole(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise ValueError("expected a whole number")
    return int(text)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('expected HOST:PORT, such as "127.0.0.1:8080"')
    return text


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text

    return read


_ROLE = _choice("all", "ingress", "worker", "web")
_LEVEL = _choice("debug", "info", "warning", "error")
_LOG_FORMAT = _choice("text", "json")

#: How the documentation names each reader's type.
_TYPE_NAMES: Mapping[Callable[[str], Any], str] = {
    _text: "text",
    _path: "path",
    _paths: "paths",
    _flag: "flag",
    _whole: "whole number",
    _address: "host:port",
    read_size: "size",
    _ROLE: "all, ingress, worker, web",
    _LEVEL: "debug, info, warning, error",
    _LOG_FORMAT: "text, json",
}


def _setting(default: str, read: Callable[[str], Any], meaning: str, *, secret: bool = False) -> Any:
    metadata = {"default": default, "read": read, "meaning": meaning, "secret": secret}
    return dataclasses.field(default_factory=lambda: read(default), repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a process was told. Sizes in bytes; `grace_seconds` in seconds."""

    channels: Path = _setting("channels", _path, "The folder of channels: one folder each, with channel.toml.")
    data: Path = _setting("data", _path, "The folder of the embedded store, its key and its lock.")
    http: str = _setting("127.0.0.1:8080", _address, "Where the pages and the HTTP API listen.")
    store: str = _setting(
        "", _text, "URL of the store (postgresql://...); empty is SQLite in the data folder.", secret=True
    )
    broker: str = _setting("", _text, "URL of the broker (redis://...); empty is in process.", secret=True)
    role: Role = _setting("all", _ROLE, "What this process does; `all` is a whole engine.")
    workers: int = _setting("0", _whole, "How many child processes convert messages; 0 converts in the process.")
    key: str = _setting(
        "",
        _text,
        "The key that seals payloads, 32 bytes in base64; empty is the key file in the data folder.",
        secret=True,
    )
    agreements_in_place: bool = _setting(
        "false", _flag, "Confirms that the site may handle real patients' data: opens production channels."
    )
    tables: tuple[Path, ...] = _setting(
        "", _paths, "More folders of mapping tables; a table there replaces the shipped one of its name."
    )
    fhir_definitions: tuple[Path, ...] = _setting(
        "", _paths, 'Folders of FHIR R4 packages (definitions and profiles), for `validate = "profile"`.'
    )
    http_token_file: Path = _setting(
        "", _path, "File with the hash of the API's token; empty is one in the data folder."
    )
    log_level: str = _setting("info", _LEVEL, "The least important line that is logged.")
    log_format: str = _setting("text", _LOG_FORMAT, "`text` for people, `json` for collectors.")
    grace_seconds: int = _setting("20", _whole, "How long a stop waits for what is under way.")
    disk_reserve: int = _setting("256MiB", read_size, "Bytes of disk kept free: below it nothing is accepted.")
    memory_budget: int = _setting(
        "256MiB",
        read_size,
        "Bytes of undelivered payload held in memory: what is above it is read from the store again.",
    )

    @property
    def token_file(self) -> Path:
        """The token file that is used: the one named, or the one in the data folder."""
        return self.data / "http-token" if self.http_token_file == Path() else self.http_token_file


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as documentation and help show it."""

    name: str
    type: str
    default: str
    meaning: str
    secret: bool

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()


def manifest() -> tuple[Setting, ...]:
    """Every setting, in the order in which `Settings` declares them."""
    return tuple(
        Setting(
            f.name, _TYPE_NAMES[f.metadata["read"]], f.metadata["default"], f.metadata["meaning"], f.metadata["secret"]
        )
        for f in dataclasses.fields(Settings)
    )


def load(environ: Mapping[str, str], **overrides: Any) -> Settings:
    """Settings from the environment, then from `overrides` (texts are read, values taken; None is not given).

    Raises:
        Configuration: naming every setting that cannot be read, never its value.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for spec in dataclasses.fields(Settings):
        variable = PREFIX + spec.name.upper()
        given = overrides.pop(spec.name, None)
        origin, given = (
            (f"--{spec.name.replace('_', '-')}", given) if given is not None else (variable, environ.get(variable))
        )
        try:
            if given is not None:
                values[spec.name] = spec.metadata["read"](given) if isinstance(given, str) else given
        except ValueError as error:
            faults.append(f"{origin}: {error}")
    if overrides:
        raise TypeError(f"no such settings: {', '.join(sorted(overrides))}")
    if faults:
        raise Configuration("reading settings: " + "; ".join(faults), code="setting", advice="See docs/settings.md.")
    return Settings(**values)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """A line for each INTERLOCK_ variable that is no setting, with the nearest name."""
    names = {setting.variable for setting in manifest()}
    strays = sorted(name for name in environ if name.startswith(PREFIX) and name not in names | NOT_SETTINGS)
    return [f"{name} is not a setting{_nearest(name, names)}" for name in strays]


def _nearest(name: str, names: set[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else "; see docs/settings.md"
