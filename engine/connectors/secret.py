"""Secrets by reference: `env:NAME` or `file:PATH`, read when they are used and never kept in a channel or a log.

A secret that was changed is used within a second, without a restart: a rotated token must not cost a delivery.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import Configuration

_FRESH_SECONDS = 1.0


def read_secret(reference: str) -> str:
    """The secret that a reference names, without surrounding white space.

    Raises:
        Configuration: when it is no reference, or names nothing that can be read.
    """
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        if value := os.environ.get(name, "").strip():
            return value
        raise _missing("the environment variable is not set or empty", "Set the variable where the engine starts.")
    if kind == "file" and name:
        return _from_file(Path(name))
    raise _missing("it is not a reference", "Write env:NAME or file:PATH, never the secret itself.")


def _from_file(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise _missing("the file is missing, empty or not readable", "Check its path, its owner and its mode.")
    return text


def _missing(text: str, advice: str) -> Configuration:
    return Configuration(f"reading a secret: {text}", code="secret_missing", advice=advice)


class Secret:
    """A secret in use, in the form that the wire needs (`shape`), read again when it is older than a second."""

    def __init__(self, reference: str, shape: Callable[[str], bytes]) -> None:
        self._reference = reference
        self._shape = shape
        self._value = b""
        self._read_at = float("-inf")

    def value(self) -> bytes:
        """The shaped secret. Raises `Configuration` when it cannot be read."""
        now = time.monotonic()
        if now - self._read_at > _FRESH_SECONDS:
            self._value = self._shape(read_secret(self._reference))
            self._read_at = now
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self._reference!r})"
