"""`python -m tests.corpus.report`: what became of the corpus, by message type, and every rule that is broken.

    python -m tests.corpus.report [--rules] [--agreement] [--open]

Without a word only the first table; the others take a minute or two. `--open` writes the faults of now into
open_faults.csv: read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests import fhir_rules
from tests.corpus.conversions import NO_CONVERSION, Made, conversions
from tests.corpus.open_faults import write
from tests.corpus.test_conformance import allowed, broken, converted
from tests.corpus.test_nothing_vanishes import vanished
from tests.corpus.test_segments_become import miscounted

INDEX = re.compile(r"Bundle\.entry\[\d+\]\.resource\.")
SHARED = Path(os.environ.get("INTERLOCK_SHARED", Path(__file__).parents[3] / "shared"))


def outcomes(everything: tuple[Made, ...]) -> None:
    """Converted, refused and crashed messages of each type, their resources and structural faults."""
    print("| type | messages | converted | no conversion | refused | crashed | resources | structural faults |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    total: Counter[str] = Counter()
    for kind in sorted({made.kind for made in everything}):
        counts = _counts([made for made in everything if made.kind == kind])
        total.update(counts)
        print(_line(kind, counts))
    print(_line("all", total))
    reasons = Counter(made.refused for made in everything if made.refused and not _untaken(made))
    print("\nrefused: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))


def _untaken(made: Made) -> bool:
    return made.refused.startswith(NO_CONVERSION)


def _counts(made: list[Made]) -> Counter[str]:
    counts = Counter(messages=len(made))
    for one in made:
        counts[_outcome(one)] += 1
        if one.payload:
            counts["resources"] += len(one.bundle["entry"])
            counts["faults"] += len(fhir_rules.faults(one.bundle))
    return counts


def _outcome(made: Made) -> str:
    if made.payload:
        return "converted"
    return "crashed" if made.crashed else "untaken" if _untaken(made) else "refused"


def _line(kind: str, counts: Counter[str]) -> str:
    names = ("messages", "converted", "untaken", "refused", "crashed", "resources", "faults")
    return f"| {kind} | " + " | ".join(str(counts[name]) for name in names) + " |"


def rules(everything: list[Made]) -> None:
    """Every rule of the definitions and of US Core that is broken: how often, in how many messages of each type."""
    print("\n| rule | times | messages | accepted | first |\n|---|--:|---|---|---|")
    for rule, by in sorted(broken(everything).items(), key=lambda item: -len(item[1])):
        kinds = {made.name: made.kind for made in everything}
        names = {place.partition(": ")[0] for place in by}
        counts = ", ".join(f"{kind} {n}" for kind, n in Counter(kinds[name] for name in names).most_common())
        print(f"| `{rule}` | {len(by)} | {counts} | {'yes' if allowed(rule) else 'NO'} | {by[0][:150]} |")


def open_now(everything: list[Made]) -> Iterator[tuple[str, str, str]]:
    """Every message that breaks one of the laws: the law, the message, the first of its faults."""
    for made in everything:
        if found := fhir_rules.faults(made.bundle):
            yield "structure", made.name, INDEX.sub("", found[0]).partition("\n")[0]
    definitions: dict[str, str] = {}
    for rule, places in broken(everything).items():
        for place in [] if allowed(rule) else places:
            definitions.setdefault(place.partition(": ")[0], rule)
    yield from (("definitions", name, rule) for name, rule in definitions.items())
    for made in everything:
        if lost := vanished(made):
            yield "text", made.name, " ".join(lost) + " is not in the bundle"
    for made in everything:
        if wrong := miscounted(made):
            yield "count", made.name, "; ".join(wrong)


if __name__ == "__main__":
    outcomes(conversions(SHARED))
    if "--rules" in sys.argv:
        rules(converted(SHARED))
    if "--open" in sys.argv:
        write(open_now(converted(SHARED)))
    if "--agreement" in sys.argv:
        from tests.corpus.agreement import show

        show(SHARED)
