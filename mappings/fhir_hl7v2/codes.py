"""CodeableConcept and code as CE, CWE, ID and IS: every coding that the type has room for, with system and version.

A code system is written as HL7 table 0396 names it; a sender's own as that sender named it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from mappings.fhir_hl7v2.leaves import inside, leaf, placed
from mappings.fhir_hl7v2.vocabulary import forward, inverse, own, reversed_lookup
from mappings.fhir_hl7v2.writing import Json, Writing, word
from mappings.hl7v2_fhir.vocabulary import STANDARD, TERMINOLOGY

_LOCAL = "urn:interlock:codesystem:"
_V2 = TERMINOLOGY + "v2-"
_ALTERNATE = STANDARD + "alternate-codes"

#: Components of code, display, system and version of a CWE's codings (HL7 2.7 chapter 2A.13); CE has no versions.
_CWE = ((1, 2, 3, 7), (4, 5, 6, 8), (10, 11, 12, 13))
_TEXT = 9


def code_system(w: Writing, system: str) -> str:
    """A code system's URI as HL7 table 0396 or its sender names it; a URI that neither names stays one."""
    found = reversed_lookup(w.tables, "code-systems", system, w.context.received_at)
    if found or (found := inverse("code-systems").get(system, "")):
        return found
    if system.startswith(_LOCAL):
        return unquote(system.removeprefix(_LOCAL).partition(":")[2])
    if system.startswith(_V2) and system[len(_V2) :].isdigit():
        return "HL7" + system[len(_V2) :]
    return system.removeprefix("urn:oid:")


def concept(w: Writing, element: Json, name: str, *, full: bool) -> str:
    """One concept as CE, or with `full` as CWE; "" when it says nothing."""
    return _concept(w, w.item(element, name), full=full)


def concepts(w: Writing, element: Json, name: str, *, full: bool) -> list[str]:
    """Every concept of an element that repeats."""
    return [found for part in w.items(element, name) if (found := _concept(w, part, full=full))]


def full_type(w: Writing, kind: str) -> bool:
    """True where a field of that type has all of CWE: `CE` became CWE in 2.6."""
    return kind == "CWE" or w.options.coded == "CWE" or w.options.since("2.6")


def _concept(w: Writing, concept: Json, *, full: bool) -> str:
    most = 3 if full and (w.options.since("2.7") or w.options.coded == "CWE") else 2
    pairs: list[tuple[int, str]] = []
    shown: list[str] = []
    for coding, (code, display, system, version) in zip(_codings(w, concept, most), _CWE, strict=False):
        words = w.text(coding, "display")
        shown.append(words)
        pairs += [(code, leaf(w.text(coding, "code"))), (display, leaf(words))]
        pairs.append((system, leaf(code_system(w, w.text(coding, "system")))))
        if full:
            pairs.append((version, leaf(w.text(coding, "version"))))
    return placed(pairs + _words(w, concept, shown, full=full))


def _codings(w: Writing, concept: Json, most: int) -> Sequence[Json]:
    """The codings that are written: all that fit, in their order. What does not fit is not taken, and so reported."""
    return [coding for coding in w.items(concept, "coding") if coding.get("code") or coding.get("display")][:most]


def _words(w: Writing, concept: Json, shown: Sequence[str], *, full: bool) -> list[tuple[int, str]]:
    """The concept's text: nothing where a display says the same, else component 9, else where CE has room for it."""
    text = concept.get("text")
    if not isinstance(text, str) or not text:
        return []
    first = next((words for words in shown if words), "")
    if text == first or (not first and shown and text == _only_code(concept)):
        w.skip(concept, "text")
        return []
    if not shown or (not full and not shown[0]):
        return [(2, leaf(w.text(concept, "text")))]
    return [(_TEXT, leaf(w.text(concept, "text")))] if full else []


def _only_code(concept: Json) -> str:
    """The code of a first coding without a system, which the other direction repeats as text."""
    codings = concept.get("coding")
    coding = codings[0] if isinstance(codings, list) and codings else {}
    return word(coding, "code") if isinstance(coding, dict) and "system" not in coding else ""


def nested(w: Writing, element: Json, name: str) -> str:
    """A concept as one component: sub-components 1 to 6."""
    return inside(concept(w, element, name, full=False))


def coded(w: Writing, element: Json, name: str, table: str, where: str) -> str:
    """A FHIR code by the table read backwards; the v2 code that stands beside it where it means the same."""
    said = w.text(element, name)
    beside = alternate(w, element, name)
    if kept := kept_code(beside, said, forward(table)):
        return leaf(kept)
    if beside:
        w.find("status_differs", where)
    if not said:
        return ""
    found = inverse(table).get(said, "")
    if not found:
        w.find("status_unknown" if "status" in table else "code_unknown", where)
    return leaf(found)


def kept_code(beside: str, said: str, known: Mapping[str, str]) -> str:
    """The v2 code beside a FHIR code, where it means the same; of a code that no table has, FHIR says `unknown`."""
    code = beside.partition("^")[0]
    if code and known.get(code) == said:
        return code
    return beside if code not in known and said in ("unknown", "") else ""


def own_code(w: Writing, said: str, table: str, where: str) -> str:
    """A FHIR code by a table of this direction."""
    found = own(table).get(said, "")
    if said and not found:
        w.find("code_unknown", where)
    return leaf(found)


def alternate(w: Writing, element: Json, name: str) -> str:
    """The v2 code that stands beside a FHIR code (extension alternate-codes); "" when there is none."""
    for extension in w.extension(w.beside(element, name), _ALTERNATE):
        said = w.item(extension, "valueCodeableConcept")
        for coding in w.items(said, "coding"):
            w.skip(coding, "system", "display")
            if code := w.text(coding, "code"):
                w.skip(said, "text")
                return code
        if text := w.text(said, "text"):
            return text
    return ""


def shown(w: Writing, concept: Json) -> str:
    """A concept's words: its text, else the first display or code."""
    codings = w.items(concept, "coding")
    words = [w.text(concept, "text"), *(w.text(coding, "display") for coding in codings)]
    return next((word for word in words if word), "") or next((w.text(coding, "code") for coding in codings), "")


def code_of(w: Writing, concept: Json, systems: Sequence[str], known: Mapping[str, str] | None = None) -> str:
    """The code of a concept's first coding in one of some systems, by a map where there is one; else "" """
    for coding in w.items(concept, "coding"):
        code = coding.get("code")
        if coding.get("system") in systems and isinstance(code, str) and (known is None or code in known):
            w.skip(coding, "system", "code", "display", "version")
            w.skip(concept, "text")
            return w.whole(code) if known is None else known[code]
    return ""
