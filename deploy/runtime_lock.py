"""Prints the part of requirements.lock that a server needs: the lock also holds what tests and linters need.

Invariant: what is printed stands in the lock word for word, with its hashes; nothing is resolved anew.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def entries(lock: str) -> dict[str, str]:
    """Each pinned distribution's block of the lock, by its name."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return {_name(block): block for block in blocks if not block.startswith("#") and block.strip()}


def runtime(lock: str, project: str) -> str:
    """The blocks that the project's own dependencies lead to, in the order of the lock.

    Raises:
        KeyError: a dependency that the lock does not pin.
    """
    pinned = entries(lock)
    needed: set[str] = set()
    waiting = [_name(text) for text in tomllib.loads(project)["project"]["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            _ = pinned[name]
            needed.add(name)
            waiting += [other for other, block in pinned.items() if name in _wanted_by(block)]
    return "".join(block for name, block in pinned.items() if name in needed)


def _wanted_by(block: str) -> set[str]:
    """Who needs this distribution: the lock says so in the comments after `via`."""
    comments = re.findall(r"^ +# +(?:via +)?(\S+)", block, re.MULTILINE)
    return {_normal(name) for name in comments} - {"via", "interlock"}


def _name(text: str) -> str:
    """The name that a requirement begins with."""
    match = _NAME.match(text)
    return _normal(match[0]) if match else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.stdout.write(runtime(Path(sys.argv[1]).read_text("utf-8"), Path(sys.argv[2]).read_text("utf-8")))
