"""The compression dictionaries: what messages of the supported formats have in common, so that small ones shrink too.

Invariant: a dictionary is made from invented messages only, and one that was ever shipped stays, for stored values name
theirs by its id. Train a new one with `python -m engine.store.dictionary FILE...` and make it CURRENT.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

import zstandard

CURRENT = 1001
"""The id of the dictionary that new values are compressed with."""
SIZE_BYTES = 32 * 1024


@cache
def dictionary(number: int) -> zstandard.ZstdCompressionDict:
    """The dictionary of that id."""
    data = (files("engine.store") / "dictionaries" / f"{number}.zdict").read_bytes()
    return zstandard.ZstdCompressionDict(data)


def train(samples: list[bytes | bytearray | memoryview], number: int) -> bytes:
    """A dictionary from samples, each about as large as what will be compressed."""
    trained: bytes = zstandard.train_dictionary(SIZE_BYTES, samples, level=1, dict_id=number).as_bytes()
    return trained


def main(names: list[str]) -> None:
    """Train from files and write the dictionary of the next id beside this module."""
    samples: list[bytes | bytearray | memoryview] = [Path(name).read_bytes() for name in names]
    target = Path(__file__).parent / "dictionaries" / f"{CURRENT + 1}.zdict"
    target.write_bytes(train(samples, CURRENT + 1))
    print(f"{target}: {target.stat().st_size} bytes from {len(samples)} samples; now make it CURRENT")


if __name__ == "__main__":
    main(sys.argv[1:])
