"""Every ORU^R01 of the corpus becomes a bundle in which each result's own resource holds what its OBX and NTE say.

Compared, OBX by OBX, with the decoded text of the input. What may differ, and how it is still compared:

* Lines of one text (OBX-2 TX or FT that follow each other with the same OBX-3, 4, 6, 7, 8, 11) are one Observation.
* Statuses are mapped by table; a code that FHIR says less than stands beside it and is compared there.
* Coding systems (CWE.3, 6, 12) are mapped to URIs: there must be one where the message names one with a code.
* Control characters, which FHIR forbids, are U+FFFD, and line ends within a text are line feeds.
* Runs of blanks within a code are one blank; blanks around a value of another type than text are trimmed.
* A time is compared digit by digit, or as the original beside it.
* ED and RP are compared in the report's presentedForm.
"""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir_rules import walk

from engine.errors import InterlockError
from engine.formats.hl7v2 import Message, read, split_batch
from engine.model import Converted
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.lookup import SHIPPED, CodeTables

pytestmark = pytest.mark.corpus

TABLES = CodeTables()
CONTEXT = Conversion("corpus", timezone="America/Chicago", sender="corpus")
CONVERTED_AT_LEAST = 0.95
STATUS = {
    row["local_code"]: row["code"]
    for row in csv.DictReader((SHIPPED / "observation-status.csv").read_text().splitlines())
}
STANDING = {
    "PD1": ("75320-2", (7,)),
    "PDA": ("69453-9", (1, 4, 5, 6, 9)),
    "OH1": ("74165-2", (3, 4, 5)),
    "OH2": ("11341-5", (4, 5, 7, 8)),
}
"""Segments that become an Observation of their own: its LOINC code, and the fields of which one must say something."""
CODED = {"CE", "CWE", "CNE", "CF", "IS"}
TIMES = {"TS", "DTM", "DT"}
TEXTS = {"ST", "TX", "FT", "ID", "GTS", ""}
CONTROLS = {n: "�" for n in (*range(9), 11, 12, *range(14, 32), 127)}


@dataclass
class Segment:
    """An input segment with the notes behind it; for a text of several OBX, all their values."""

    name: str
    fields: list[str]
    notes: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def __getitem__(self, n: int) -> str:
        return self.fields[n] if n < len(self.fields) else ""


@pytest.fixture(scope="module")
def converted(shared: Path) -> tuple[list[tuple[str, Message, Converted]], Counter[str], int]:
    """Every ORU^R01 that converts, why the others do not, and how many there are."""
    done, reasons, total = [], Counter[str](), 0
    for name, raw in messages(shared / "corpus/hl7v2/open"):
        total += 1
        try:
            message = read(raw)
            done.append((name, message, transaction(message, TABLES, CONTEXT)))
        except InterlockError as error:
            reasons[f"{error.code} {error.where}"] += 1
    return done, reasons, total


def messages(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each message whose MSH-9 says ORU^R01, with its place."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or ".expected" in path.name:
            continue
        raw = path.read_bytes()
        try:
            parts = split_batch(raw)
        except InterlockError:
            parts = [raw]
        for index, part in enumerate(parts):
            head = part[:600].partition(b"MSH")[2]
            fields = head[1:].split(head[:1]) if head else []
            if len(fields) > 7 and fields[7].replace(head[1:2], b"^").startswith(b"ORU^R01"):
                yield f"{path.relative_to(folder)}#{index}", part


def test_at_least_95_percent_convert(converted: Any) -> None:
    done, reasons, total = converted
    print(f"\n{len(done)} of {total} ORU^R01 converted ({len(done) / total:.1%}); the rest: {dict(reasons)}")
    assert total > 500
    assert len(done) / total >= CONVERTED_AT_LEAST


def test_every_field_and_note_is_in_its_own_resource(converted: Any) -> None:
    problems, compared = [], Counter[str]()
    for name, message, made in converted[0]:
        for problem in compare(message, orjson.loads(made.payload), numbers(made.payload), compared):
            problems.append(f"{name} {problem}")
    print(f"\ncompared {dict(compared)}")
    assert compared["OBX"] > 15_000
    assert not problems, f"{len(problems)}: " + "\n".join(problems[:40])


def numbers(payload: bytes) -> list[dict[str, Any]]:
    """The bundle's Observations with numbers as the digits that were written, patched ones as None."""
    bundle = json.loads(payload, parse_float=str, parse_int=str)
    return [e["resource"] for e in bundle["entry"] if e["request"]["url"].startswith("Observation/")]


def segments(message: Message) -> list[Segment]:
    """The message's segments with notes and texts joined, read without the converter."""
    found: list[Segment] = []
    owner = last = None
    for part in message.segments:
        segment = Segment(part.name, list(part.fields))
        if part.name == "NTE":
            (owner or found[0]).notes.append(segment[3])
            last = None
            continue
        if part.name == "OBX":
            segment.values = [segment[5]]
            if (
                last
                and segment[2] in ("TX", "FT")
                and all(last[n] == segment[n] for n in (2, 3, 4, 6, 7, 8, 11, 14, 15, 23))
            ):
                last.values.append(segment[5])
                continue
            last = segment
        else:
            last = None
        if part.name in ("PID", "PV1", "ORC", "OBR", "OBX", "SPM"):
            owner = segment
        found.append(segment)
    return found


def compare(
    message: Message, bundle: dict[str, Any], written: list[dict[str, Any]], compared: Counter[str]
) -> Iterator[str]:
    """What of the input is not where it belongs."""
    entries = [entry["resource"] for entry in bundle["entry"]]
    inputs = segments(message)
    results = [segment for segment in inputs if segment.name == "OBX"]
    yield from take_standing(message, written)
    reports = [resource for resource in entries if resource["resourceType"] == "DiagnosticReport"]
    documents = {
        reference["reference"].partition("/")[2]: report.get("presentedForm", [])
        for report in reports
        for reference in report.get("result", ())
    }
    if len(results) != len(written):
        yield f"{len(results)} results became {len(written)} resources"
        return
    for index, (segment, resource) in enumerate(zip(results, written, strict=True), 1):
        compared["OBX"] += 1
        if resource["resourceType"] != "Observation":
            continue
        for problem in compare_result(message, segment, resource, documents.get(resource["id"], [])):
            yield f"OBX[{index}]-{problem}"
    yield from compare_notes(message, inputs, entries, written, compared)


def take_standing(message: Message, written: list[dict[str, Any]]) -> Iterator[str]:
    """Take out the one Observation of each segment that becomes one; those of OBX are left."""
    for part in message.segments:
        code, fields = STANDING.get(part.name, ("", ()))
        row = list(part.fields)
        if not any(len(row) > n and row[n] not in ("", '""') for n in fields):
            continue
        found = next((one for one in written if _coded_alone(one, code)), None)
        if found is None:
            yield f"{part.name} has no Observation"
        else:
            written.remove(found)


def _coded_alone(resource: dict[str, Any], code: str) -> bool:
    """True for an Observation of that one LOINC code."""
    codings = resource.get("code", {}).get("coding", [])
    return [(one.get("system"), one.get("code")) for one in codings] == [("http://loinc.org", code)]


def decoded(message: Message, raw: str) -> str:
    text = message.decode(raw).replace("\r\n", "\n").replace("\r", "\n").translate(CONTROLS)
    return "" if raw == '""' else text


def leaves(message: Message, raw: str) -> list[str]:
    """The decoded, trimmed components of a repetition."""
    return [decoded(message, part).strip() for part in raw.split(message.separators.component)]


def repetitions(message: Message, raw: str) -> list[str]:
    mark = message.separators.repetition
    return [part for part in (raw.split(mark) if mark else [raw]) if part and part != '""']


def texts(element: Any) -> set[str]:
    """Every string inside an element."""
    return {value for found in walk(element) for value in found.values() if isinstance(value, str)}


def compare_result(
    message: Message, segment: Segment, resource: dict[str, Any], documents: list[dict[str, Any]]
) -> Iterator[str]:
    yield from compare_coded("3", message, (repetitions(message, segment[3]) or [""])[0], [resource["code"]])
    yield from compare_value(message, segment, resource, documents)
    said = texts([resource.get(name, {}) for name in ("valueQuantity", "valueRange", "valueRatio", "extension")])
    said |= texts([part.get("valueQuantity", {}) for part in resource.get("component", ())])
    said |= texts(resource.get("valueSampledData", {}))
    for part in (leaves(message, segment[6]) + [""] * 6)[:2]:
        if part and " ".join(part.split()) not in said and part not in said:
            yield f"6 {part!r}"
    ranges = [found.get("text") for found in resource.get("referenceRange", ())]
    text = decoded(message, segment[7]).strip()
    if ranges != ([text] if text else []):
        yield f"7 {text!r} {ranges}"
    yield from compare_flags(message, segment[8], resource.get("interpretation", []))
    yield from compare_status(message, segment[11], resource)


def compare_coded(where: str, message: Message, raw: str, concepts: list[Any]) -> Iterator[str]:
    """Codes in coding.code with a system, displays in coding.display or text."""
    parts = leaves(message, raw) + [""] * 13
    codings = [coding for concept in concepts for coding in concept.get("coding", ())]
    codes = {coding.get("code") for coding in codings}
    shown = {coding.get("display") for coding in codings} | {concept.get("text") for concept in concepts}
    for code, display, system in ((0, 1, 2), (3, 4, 5), (9, 10, 11)):
        if parts[code] and " ".join(parts[code].split()) not in codes:
            yield f"{where}.{code + 1} {parts[code]!r}"
        if parts[display] and parts[display] not in shown and parts[code]:
            yield f"{where}.{display + 1} {parts[display]!r}"
        if (
            parts[code]
            and parts[system]
            and not any("system" in c for c in codings if c.get("code") == " ".join(parts[code].split()))
        ):
            yield f"{where}.{system + 1}"
    if (
        not any((parts[0], parts[3], parts[9]))
        and (text := parts[8] or parts[1] or parts[4] or parts[10])
        and text not in shown
    ):
        yield f"{where} text"


def compare_value(
    message: Message, segment: Segment, resource: dict[str, Any], documents: list[dict[str, Any]]
) -> Iterator[str]:
    kind = leaves(message, segment[2])[0]
    values = [resource, *resource.get("component", ())]
    if kind in TEXTS:
        lines = [decoded(message, part) for value in segment.values for part in _all(message, value)]
        expected = "\n".join(lines)
        if expected.strip() and resource.get("valueString") != expected:
            yield "5 text"
        return
    for raw in repetitions(message, segment[5]):
        if not any(leaves(message, raw)):
            continue
        if kind in CODED:
            yield from compare_coded(
                "5", message, raw, [v["valueCodeableConcept"] for v in values if "valueCodeableConcept" in v]
            )
        elif kind in ("ED", "RP"):
            yield from compare_document(
                message, kind, raw, documents or [e.get("valueAttachment", {}) for e in resource.get("extension", ())]
            )
        elif not _found(message, kind, raw, values):
            yield f"5 {kind} {raw!r}"


def _all(message: Message, raw: str) -> list[str]:
    mark = message.separators.repetition
    return raw.split(mark) if mark else [raw]


def _found(message: Message, kind: str, raw: str, values: list[dict[str, Any]]) -> bool:
    """True when one of the values says what the repetition says."""
    parts = leaves(message, raw)
    whole = decoded(message, raw).strip()
    for value in values:
        said = value.get("valueString")
        if said is not None and kind == "NM" and _plain_number(whole):
            continue  # a number is a quantity: its text alone has lost what it is
        if said is not None and (said == whole or (kind == "SN" and said == "".join(parts[:4]))):
            return True
        if kind == "NM" and "valueQuantity" in value and same_number(whole, value["valueQuantity"]["value"]):
            return True
        if kind == "SN" and _structured(parts, value):
            return True
        if kind in TIMES and same_time(parts[0], value):
            return True
        if kind == "TM" and value.get("valueTime", "").replace(":", "").startswith(whole):
            return True
        if kind == "NR" and "valueRange" in value:
            ends = [value["valueRange"].get(end, {}).get("value", "") for end in ("low", "high")]
            return all(same_number(a, b) for a, b in zip(parts, ends, strict=False))
        if kind == "NA" and value.get("valueSampledData", {}).get("data", "").split() == [p or "E" for p in parts]:
            return True
    return False


def _plain_number(text: str) -> bool:
    """True for what FHIR can hold as a decimal, judged here without the conversion's own rules."""
    digits = text.lstrip("+-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit() and not text.startswith(("+-", "-+", "++", "--")) and len(digits) <= 18


def same_number(text: str, written: str) -> bool:
    """The same digits: signs, leading zeros and a bare point aside."""
    if not text or not written:
        return text == written
    plain = text.lstrip("+")
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    digits = digits.rstrip(".") if digits.endswith(".") else digits
    digits = digits.lstrip("0") if not digits.lstrip("0").startswith(".") and digits.strip("0") else digits
    digits = "0" + digits.lstrip("0") if digits.lstrip("0").startswith(".") else digits
    return sign + (digits if digits.strip("0") or "." in digits else "0") == written


def same_time(text: str, value: dict[str, Any]) -> bool:
    originals = texts(value.get("_valueDateTime", {}))
    said = "".join(c for c in value.get("valueDateTime", "")[:19] if c.isdigit())
    digits = "".join(c for c in text.partition("+")[0].partition("-")[0].partition(".")[0] if c.isdigit())
    return text in originals or bool(digits and said and said[: len(digits)] == digits)


def _structured(parts: list[str], value: dict[str, Any]) -> bool:
    comparator, first, mark, second = (parts + [""] * 4)[:4]
    if "valueQuantity" in value and not second:
        said = value["valueQuantity"]
        return (same_number(first, said["value"]) and said.get("comparator", "") == comparator.replace("=", "")) or (
            same_number(first, said["value"]) and said.get("comparator") == comparator
        )
    if "valueRange" in value and mark == "-":
        said = value["valueRange"]
        return same_number(first, said["low"]["value"]) and same_number(second, said["high"]["value"])
    if "valueRatio" in value and mark in (":", "/"):
        said = value["valueRatio"]
        return same_number(first, said["numerator"]["value"]) and same_number(second, said["denominator"]["value"])
    return False


def compare_document(message: Message, kind: str, raw: str, documents: list[dict[str, Any]]) -> Iterator[str]:
    parts = raw.split(message.separators.component)
    if kind == "RP":
        pointer = decoded(message, parts[0]).strip()
        if pointer and not any(pointer == d.get("url") or pointer in d.get("title", "") for d in documents):
            yield "5 RP"
        return
    data = decoded(message, parts[4] if len(parts) > 4 else "")
    if data and not any(_same_data(data, document.get("data", "")) for document in documents):
        yield "5 ED"


def _same_data(data: str, written: str) -> bool:
    return "".join(data.split()) == written or base64.b64decode(written).decode(errors="replace").startswith(data)


def compare_flags(message: Message, raw: str, interpretations: list[Any]) -> Iterator[str]:
    flags = [
        part
        for part in repetitions(message, raw)
        if any((leaves(message, part) + [""] * 9)[n] for n in (0, 1, 3, 4, 8))
    ]
    if len(flags) != len(interpretations):
        yield "8 count"
        return
    for flag, concept in zip(flags, interpretations, strict=True):
        parts = leaves(message, flag)
        codes = {coding["code"] for coding in concept.get("coding", ())} | {concept.get("text")}
        whole = " ".join(part for part in parts[:2] if part)
        if not ({parts[0], " ".join(parts[0].split()), whole} & codes):
            yield f"8 {flag!r}"


def compare_status(message: Message, raw: str, resource: dict[str, Any]) -> Iterator[str]:
    code = leaves(message, (repetitions(message, raw) or [""])[0])[0]
    if resource["status"] != STATUS.get(code, "unknown"):
        yield f"11 {code!r}"
    text = decoded(message, raw).strip()
    if text and text not in ("A", "C", "F", "P") and text not in texts(resource.get("_status", {})):
        yield f"11 raw {text!r}"


def compare_notes(
    message: Message,
    inputs: list[Segment],
    entries: list[dict[str, Any]],
    written: list[dict[str, Any]],
    compared: Counter[str],
) -> Iterator[str]:
    """Each NTE's lines, in their order, in the notes of the resource of the segment before it."""
    requests = iter([entry for entry in entries if entry["resourceType"] == "ServiceRequest"])
    specimens = [entry for entry in entries if entry["resourceType"] == "Specimen"]
    patients = [entry for entry in entries if entry["resourceType"] in ("Patient", "Encounter")]
    results = iter(written)
    request: dict[str, Any] = {}
    pending: list[str] = []
    for segment in inputs:
        if segment.name == "OBR":
            request = next(requests)
            yield from note_problems(message, pending, [request], "ORC", compared)
            pending = []
        place = {"OBR": [request], "OBX": [], "SPM": specimens}.get(segment.name, patients)
        if segment.name == "OBX":
            place = [next(results)]
        if segment.name == "ORC":
            pending = segment.notes
        else:
            yield from note_problems(message, segment.notes, place, segment.name, compared)
    yield from note_problems(message, pending, patients, "ORC", compared)


def note_problems(
    message: Message, notes: list[str], places: list[dict[str, Any]], name: str, compared: Counter[str]
) -> Iterator[str]:
    if not notes:
        return
    compared["NTE"] += len(notes)
    said = ["\n".join(note["text"] for note in _notes(place)) for place in places]
    for raw in notes:
        lines = [decoded(message, part).rstrip() for part in _all(message, raw) if part != '""']
        if not any("\n".join(lines).rstrip() in text for text in said):
            yield f"NTE after {name}"


def _notes(place: dict[str, Any]) -> list[dict[str, Any]]:
    inside = [
        extension["valueAnnotation"] for extension in place.get("extension", ()) if "valueAnnotation" in extension
    ]
    return [*place.get("note", ()), *inside]


def test_a_result_that_is_missing_or_invented_is_found() -> None:
    message = read(b"MSH|^~\\&|A|B|||20260105||ORU^R01|1|P|2.5\rPD1|||||||F\rOBR|1\rOBX|1|ST|1^One^L||text||||||F")
    made = transaction(message, TABLES, CONTEXT).payload
    bundle, written = orjson.loads(made), numbers(made)
    assert not list(compare(message, bundle, list(written), Counter()))
    assert list(compare(message, bundle, written[:1], Counter())) == ["1 results became 0 resources"]
    assert list(compare(message, bundle, written[1:], Counter())) == ["PD1 has no Observation"]
    assert list(compare(message, bundle, [*written, written[0]], Counter())) == ["1 results became 2 resources"]
