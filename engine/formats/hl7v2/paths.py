"""Places in a message as analysts write them: `PID-3[2].4.1`, `OBX[3]-5`, `MSH-9.2`.

Everything counts from one, as the standard does; a path is parsed once and then remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_PATH = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[([1-9][0-9]{0,6})\])?-([0-9]{1,3})(?:\[([1-9][0-9]{0,6})\])?"
    r"(?:\.([1-9][0-9]{0,3}))?(?:\.([1-9][0-9]{0,3}))?",
    re.ASCII,
)


class Path(NamedTuple):
    """A parsed path. Zero where it names no repetition, component or sub-component."""

    segment: str
    occurrence: int
    field: int
    repetition: int
    component: int
    subcomponent: int


@lru_cache(maxsize=4096)
def parse_path(path: str) -> Path:
    """Parse a path.

    Raises:
        ValueError: when it is not one; the text shows how paths are written.
    """
    match = _PATH.fullmatch(path)
    if not match or match[3].lstrip("0") == "":
        raise ValueError(f"{path!r} is not a path; write it like PID-5, PID-3[2].4.1 or OBX[3]-5")
    name, occurrence, *numbers = match.groups()
    return Path(name, int(occurrence or 1), *(int(number or 0) for number in numbers))
