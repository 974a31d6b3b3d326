"""Faults that the corpus found and that are still there, by message: each is to be mended, and then taken out here."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).with_name("open_faults.csv")


def judged(law: str, faults: Mapping[str, Collection[str]], asked: Collection[str]) -> str:
    """What is wrong with the faults of one law, by message, among those that were asked; "" when nothing is.

    Wrong is a fault in a message that is not known to have one, and a known one that is gone.
    """
    with FILE.open(newline="", encoding="utf-8") as file:
        known = {row["message"] for row in csv.DictReader(file) if row["law"] == law} & set(asked)
    new = [f"{name}: {fault}" for name, found in faults.items() if name not in known for fault in found]
    gone = [f"{name} is mended: take it out of {FILE.name}" for name in sorted(known - faults.keys())]
    return "\n".join([f"{len(new)} faults"] * bool(new) + new[:40] + gone)


def write(faults: Iterable[tuple[str, str, str]]) -> None:
    """Write the file: law, message, and what is wrong with it."""
    rows = list(faults)
    with FILE.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("law", "message", "fault"), *rows])
    print(f"\n{len(rows)} open faults in {FILE.name}")
