"""Observation as OBX: one for its value, one for each component that is a result of its own, notes behind them."""

from __future__ import annotations

from collections.abc import Sequence

from mappings.fhir_hl7v2.attachments import document
from mappings.fhir_hl7v2.clock import choice, stamp
from mappings.fhir_hl7v2.codes import code_of, concept, concepts, full_type
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.identifiers import number, numbers
from mappings.fhir_hl7v2.leaves import leaf, leaves, repeated
from mappings.fhir_hl7v2.notes import notes
from mappings.fhir_hl7v2.performers import performers
from mappings.fhir_hl7v2.quantities import digits, kept_unit, take_all
from mappings.fhir_hl7v2.values import Value, repeated_values, value_of
from mappings.fhir_hl7v2.writing import Json, Writing, word
from mappings.hl7v2_fhir.vocabulary import OWN, STANDARD, TERMINOLOGY

_FLAGS = (TERMINOLOGY + "v3-ObservationInterpretation", TERMINOLOGY + "v2-0078")
_CATEGORIES = frozenset({"laboratory", "imaging", "procedure", "exam"})
_R5_VALUE = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
_REPORTED = "The value is a document in DiagnosticReport.presentedForm"

#: Reasons of a missing value that the empty OBX-5 and OBX-11 say themselves.
_PLAIN_REASONS = frozenset({"unknown", "temp-unknown", "not-asked", "unsupported"})


class Block:
    """The OBX of one OBR, numbered from 1, and the documents of its report that results wait for."""

    __slots__ = ("_last", "count", "documents", "lines")

    def __init__(self, documents: Sequence[Json] = ()) -> None:
        self.lines: list[str] = []
        self.count = 0
        self.documents = list(documents)
        self._last: tuple[str, ...] = ()

    def put(self, fields: Fields, *behind: str) -> None:
        """Add an OBX and what follows it."""
        self.count += 1
        key = tuple(fields.get(n, "") for n in (2, 3, 4, 6, 7, 8, 11, 14, 15, 23))
        if fields.get(2) in ("TX", "FT") and key == self._last and not fields.get(4):
            fields = {**fields, 4: str(self.count)}  # else a receiver takes it for the next line of the one before
        self._last = () if behind else key
        self.lines += [segment("OBX", {**fields, 1: str(self.count)}), *behind]


def put_observation(w: Writing, block: Block, observation: Json) -> None:
    """Write an Observation into a block."""
    w.use(observation)
    w.skip(observation, "subject", "encounter", "specimen", "basedOn", "hasMember", "derivedFrom")
    fields = _common(w, observation)
    values = _values(w, block, observation, fields)
    lines = notes(w, observation)
    parts = _parts(w, observation, fields)
    kept = kept_unit(w, observation)
    values = [value if value.unit else value._replace(unit=kept) for value in values]
    first = values[0] if values else Value(unit=kept)
    if values or not parts or lines:
        block.put({**fields, 2: first.kind, 5: first.text, 6: first.unit}, *([] if values[1:] else lines))
    for n, value in enumerate(values[1:], 2):
        last = n == len(values)
        block.put({**fields, 2: value.kind, 5: value.text, 6: value.unit}, *(lines if last else ()))
    for part in parts:
        block.put(part)


def _common(w: Writing, observation: Json) -> Fields:
    """What an Observation says beside its value."""
    fields: Fields = {4: sub_id(w, observation), 7: _ranges(w, observation), 8: _flags(w, observation)}
    natures = w.extension(observation, STANDARD + "observation-nature-of-abnormal-test")
    fields[10] = repeated(concept(w, one, "valueCodeableConcept", full=False) for one in natures)
    fields[14], end = choice(w, observation, "effective", "Observation")
    if end:
        w.find("element_left_out", "Observation.effectivePeriod.end")
    performers(w, observation, fields)
    fields[17] = _methods(w, observation)
    if w.options.since("2.4"):
        fields[18] = _device(w, observation)
        fields[19] = _analysed(w, observation)
    if w.options.since("2.7"):
        fields[26] = repeated(leaf(w.text(one, "valueString")) for one in w.extension(observation, OWN + "v2-release"))
    for category in w.items(observation, "category"):
        code_of(w, category, (TERMINOLOGY + "observation-category",), {code: code for code in _CATEGORIES})
    return _coded(w, fill(w, "OBX-Observation", observation, fields), "Observation")


def _coded(w: Writing, fields: Fields, where: str) -> Fields:
    if not fields.get(3):
        w.find("code_missing", f"{where}.code")
    return fields


def sub_id(w: Writing, observation: Json) -> str:
    """OBX-4, from the extension observation-v2-subid."""
    for extension in w.extension(observation, STANDARD + "observation-v2-subid"):
        for part in w.items(extension, "extension"):
            if part.get("url") == "original-sub-identifier":
                w.skip(part, "url")
                return leaf(w.text(part, "valueString"))
    return ""


def _ranges(w: Writing, observation: Json) -> str:
    """OBX-7: each range's text, else its ends as v2 writes them; several with a semicolon between."""
    found = []
    for one in w.items(observation, "referenceRange"):
        low, high = w.item(one, "low"), w.item(one, "high")
        take_all(w, low, high)
        found.append(w.text(one, "text") or _ends(digits(low.get("value")), digits(high.get("value"))))
    return leaf("; ".join(text for text in found if text))


def _ends(low: str, high: str) -> str:
    if low and high:
        return f"{low}-{high}"
    return f">={low}" if low else f"<={high}" if high else ""


def _flags(w: Writing, observation: Json) -> str:
    """OBX-8: each flag's code of table 0078; one of another system whole, one without a code as its text."""
    found = []
    for flag in w.items(observation, "interpretation"):
        code = code_of(w, flag, _FLAGS)
        if code and w.options.since("2.7"):
            found.append(leaves((code, "", "HL70078")))
        elif code:
            found.append(leaf(code))
        elif flag.get("coding"):
            found.append(concept(w, {"it": flag}, "it", full=full_type(w, "CE")))
        else:
            found.append(leaf(w.text(flag, "text")))
    return repeated(found)


def _methods(w: Writing, observation: Json) -> str:
    full = full_type(w, "CE")
    more = w.extension(observation, OWN + "v2-method")
    found = [concept(w, one, "valueCodeableConcept", full=full) for one in more]
    return repeated([*concepts(w, observation, "method", full=full), *found])


def _device(w: Writing, observation: Json) -> str:
    found, reference = w.target(observation, "device", observation)
    known = numbers(w, found)[:1] if found else [number(w, w.item(reference, "identifier"))]
    return known[0].ei if known and known[0].value else leaf(w.text(reference, "display"))


def _analysed(w: Writing, observation: Json) -> str:
    for one in w.extension(observation, STANDARD + "observation-analysis-date-time"):
        return stamp(w, one, "valueDateTime", "Observation.extension")
    for one in w.extension(observation, OWN + "v2-analysis-time"):
        return leaf(w.text(one, "valueString"))
    return ""


def _values(w: Writing, block: Block, observation: Json, fields: Fields) -> list[Value]:
    """The value; where it is a document, what the report or an extension has of it."""
    found = value_of(w, observation, observation, "Observation")
    reason = w.item(observation, "dataAbsentReason")
    title = word(w.item(observation, "code"), "text")
    if reason.get("text") == _REPORTED:
        _take_reason(w, reason)
        return _documents(w, block, title)
    made = [w.item(one, "valueAttachment") for one in w.extension(observation, _R5_VALUE)]
    _take_reason(w, reason)
    documents = [document(w, one, title, "Observation.extension") for one in made]
    return [found] if found.text else [one for one in documents if one.text]


def _documents(w: Writing, block: Block, title: str) -> list[Value]:
    """The first of the report's documents that has the result's title, and those of the same title behind it."""
    fits = [one for one in block.documents if not title or word(one, "title").startswith(title)]
    taken = fits[:1]
    block.documents = [one for one in block.documents if not any(one is other for other in taken)]
    found = [document(w, one, title, "DiagnosticReport.presentedForm") for one in taken]
    return [one for one in found if one.text]


def _take_reason(w: Writing, reason: Json) -> None:
    """Take a reason that the message says itself; any other is reported."""
    code_of(w, reason, (TERMINOLOGY + "data-absent-reason",), {code: code for code in _PLAIN_REASONS})
    if not reason.get("coding"):
        return
    if all(word(coding, "code") in _PLAIN_REASONS for coding in w.items(reason, "coding")):
        w.skip(reason, "text")


def _parts(w: Writing, observation: Json, fields: Fields) -> list[Fields]:
    """Components. Those of the Observation's own code are repetitions of one value; others are results of their own."""
    components = w.items(observation, "component")
    same = [one for one in components if one.get("code") == observation.get("code")]
    made = [value_of(w, one, observation, "Observation.component") for one in same]
    rows: list[Fields] = []
    if made := [value for value in made if value.text]:
        for one in same:
            w.skip(one, "code")
        value = repeated_values(made)
        rows.append({**fields, 2: value.kind, 5: value.text, 6: value.unit or kept_unit(w, observation)})
    others = [one for one in components if not any(one is other for other in same)]
    return rows + [_component(w, one, fields, n) for n, one in enumerate(others, 1)]


def _component(w: Writing, component: Json, fields: Fields, n: int) -> Fields:
    """A component as a result of its own: its sub-id tells which Observation it belongs to."""
    value = value_of(w, component, component, "Observation.component")
    _take_reason(w, w.item(component, "dataAbsentReason"))
    sub = f"{fields.get(4) or '1'}.{n}"
    code = concept(w, component, "code", full=full_type(w, "CE"))
    own = {4: sub, 7: _ranges(w, component), 8: _flags(w, component), 3: code}
    return _coded(w, {**fields, **own, 2: value.kind, 5: value.text, 6: value.unit}, "Observation.component")
