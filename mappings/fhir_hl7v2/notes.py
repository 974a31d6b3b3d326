"""Annotations as NTE: one segment a line, so that no line is longer than what was a line."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.leaves import leaf
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import STANDARD


def notes(w: Writing, resource: Json, name: str = "note") -> list[str]:
    """The NTE of a resource's notes."""
    return annotated(w, w.items(resource, name))


def annotated(w: Writing, found: Sequence[Json], first: int = 1) -> list[str]:
    """The NTE of some annotations."""
    lines: list[str] = []
    for note in found:
        kind = "".join(
            concept(w, extension, "valueCodeableConcept", full=full_type(w, "CE"))
            for extension in w.extension(note, STANDARD + "annotationType")[:1]
        )
        for text in w.text(note, "text").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            lines.append(f"NTE|{len(lines) + first}||{leaf(text)}|{kind}".rstrip("|"))
    return lines


def comments(texts: Sequence[str], first: int = 1) -> list[str]:
    """The NTE of plain texts, a segment a line."""
    lines = [line for text in texts for line in text.split("\n")]
    return [f"NTE|{n}||{leaf(line)}".rstrip("|") for n, line in enumerate(lines, first)]
