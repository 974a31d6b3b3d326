"""What to do about an error's code, for answers that carry only the code."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import InterlockError


def _tree(root: type[InterlockError]) -> Iterator[type[InterlockError]]:
    yield root
    for leaf in root.__subclasses__():
        yield from _tree(leaf)


_ADVICE = {error.code: error.advice for error in _tree(InterlockError)}


def advice_for(code: str) -> str:
    """The advice of the error that has this code; empty where there is none."""
    return _ADVICE.get(code, "")
