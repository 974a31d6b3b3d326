"""The OBX of a vaccination that Immunization has elements for: eligibility, funding, information statements.

Each is taken only where the element says all of it; everything else is an Observation.
"""

from __future__ import annotations

from collections.abc import Sequence

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.structure import Result
from mappings.hl7v2_fhir.vocabulary import OWN, Json, own_text

_ELIGIBILITY, _FUNDING, _REACTION = "64994-7", "30963-3", "31044-1"
_VACCINE, _DOCUMENT, _PUBLISHED, _PRESENTED = "30956-7", "69764-9", "29768-9", "29769-7"
_STATEMENT = frozenset({_VACCINE, _DOCUMENT, _PUBLISHED, _PRESENTED})
_DATES = {_PUBLISHED: "publicationDate", _PRESENTED: "presentationDate"}
_CODED = frozenset({"CE", "CWE", "CNE", "IS"})
_TIMES = frozenset({"TS", "DT", "DTM"})
_SETTLED = frozenset({"F", "C", ""})
_BEYOND = (6, 7, 8, 10, 15, 16, 18, 19, 20, 21, 23, 25)
"""Fields of an OBX that no element of Immunization has room for."""


def is_reaction(reading: Reading, result: Result) -> bool:
    """True for a reaction to the vaccine."""
    return reading.part(result.row[3]) == _REACTION


def take_results(reading: Reading, found: Json, results: Sequence[Result]) -> list[Result]:
    """Put what the Immunization has elements for; the results that are left."""
    left: list[Result] = []
    statements: dict[str, list[Result]] = {}
    for result in results:
        code = reading.part(result.row[3])
        if not _is_plain(reading, result):
            left.append(result)
        elif code == _ELIGIBILITY:
            found.setdefault("programEligibility", []).extend(_eligibility(reading, result))
        elif code == _FUNDING and "fundingSource" not in found:
            found["fundingSource"] = _value(reading, result)
        elif code in _STATEMENT:
            statements.setdefault(_group(reading, result, statements), []).append(result)
            continue
        else:
            left.append(result)
        if result not in left:
            _keep_notes(reading, found, result)
    for group in statements.values():
        left += _statement(reading, found, group)
    return sorted(left, key=lambda result: result.number)


def _is_plain(reading: Reading, result: Result) -> bool:
    """True for one settled value of the type that the elements want, with nothing beside it."""
    row = result.row
    kind = reading.part(row[2])
    code = reading.part(row[3])
    dated = code in _DATES
    said = len(reading.repetitions(row[5]))
    return (
        kind in (_TIMES if dated else _CODED)
        and (said == 1 or (said > 1 and code == _ELIGIBILITY))
        and reading.part(row[11]) in _SETTLED
        and not any(row[field] for field in _BEYOND if field < len(row))
        and (not dated or reading.part(row[5])[:8].isdigit())
    )


def _value(reading: Reading, result: Result) -> Json:
    found: Json = concept(reading, result.row[5]) or {}
    return found


def _eligibility(reading: Reading, result: Result) -> list[Json]:
    """Each programme's code, with how (OBX-17) and when (OBX-14) it was found."""
    extensions: list[Json] = [
        {"url": OWN + "v2-eligibility-method", "valueCodeableConcept": how} for how in concepts(reading, result.row[17])
    ]
    if when := reading.part(result.row[14]):
        extensions.append(own_text("v2-eligibility-time", when))
    beside = {"extension": extensions} if extensions else {}
    return [{**beside, **value} for value in concepts(reading, result.row[5])]


def _group(reading: Reading, result: Result, groups: dict[str, list[Result]]) -> str:
    """The statement that an OBX is about: OBX-4; without it a code that is there again begins the next one."""
    sub = reading.part(result.row[4])
    code = reading.part(result.row[3])
    if sub:
        return sub
    last = next(reversed(groups), "")
    again = any(reading.part(other.row[3]) == code for other in groups.get(last, ()))
    return f"{len(groups)}" if again or not last else last


def _statement(reading: Reading, found: Json, group: Sequence[Result]) -> list[Result]:
    """One information statement as education; what it has no room for, and a vaccine type alone, is left."""
    by_code: dict[str, Result] = {}
    left = []
    for result in group:
        code = reading.part(result.row[3])
        if code in by_code or (code == _VACCINE and _DOCUMENT in by_code):
            left.append(result)
        else:
            by_code[code] = result
    if not by_code.keys() & {_DOCUMENT, _PUBLISHED, _PRESENTED}:
        return list(group)
    if _DOCUMENT in by_code and _VACCINE in by_code:
        left.append(by_code.pop(_VACCINE))
    education = _document_type(reading, by_code)
    for code, name in _DATES.items():
        if dated := by_code.get(code):
            put_time(reading, education, name, dated.row[5], f"OBX[{dated.number}]-5")
    found.setdefault("education", []).append(education)
    for result in by_code.values():
        _keep_notes(reading, found, result)
    return left


def _document_type(reading: Reading, by_code: dict[str, Result]) -> Json:
    """The statement's own code, else the vaccine's: imm-1 wants a word for it, and the code is kept beside it."""
    for code in (_DOCUMENT, _VACCINE):
        if result := by_code.get(code):
            said = _value(reading, result)
            text = said.get("text") or said["coding"][0]["code"]
            return {"extension": [{"url": OWN + "v2-statement", "valueCodeableConcept": said}], "documentType": text}
    return {"documentType": "Vaccine Information Statement"}


def _keep_notes(reading: Reading, found: Json, result: Result) -> None:
    if result.notes:
        found.setdefault("note", []).extend(annotated(reading, result.notes))
