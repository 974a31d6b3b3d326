"""MSA, ERR and MFA: the answer to a message, as MessageHeader.response with an OperationOutcome inside it.

Servers do not store an OperationOutcome on its own. An answer is `ok` only where it says so.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept, status_extension
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.reading import Reading, compact
from mappings.hl7v2_fhir.resources.header import message_header
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json, absent_extension, codes_of

CODES = codes_of("acknowledgment")
CONDITIONS = codes_of("error-condition")
SEVERITIES = codes_of("error-severity")
_TRANSIENT = frozenset({"lock-error", "exception"})
_OUTCOME = "outcome"
_DONE = "S"  # HL7 0181


def acknowledged(reading: Reading, detail: Noted) -> None:
    """MSA: whose answer it is, what it says, and why."""
    row = detail.row
    header = _header(reading)
    response = header["response"]
    if answered := reading.part(row[2]):
        response["identifier"] = answered
        response.pop("_identifier", None)
    said = reading.part(row[1])
    if said in CODES:
        response["code"] = CODES[said]
        response.pop("_code", None)
    elif said:
        reading.find("status_unknown", detail.where + "-1")
    text = reading.text(row[3])
    condition = _details(reading, row[6])
    if text or condition:
        kind = _condition(reading, row[6])
        severity = "information" if response.get("code") == "ok" else "error"
        issue = {"severity": severity, "code": kind, "details": condition, "diagnostics": text}
        _add(reading, compact(issue), detail)


def erred(reading: Reading, detail: Noted) -> None:
    """ERR: one issue; before version 2.5 its first field holds one an error (ELD)."""
    row = detail.row
    if row[2] or row[3] or row[7] or row[8] or row[5]:
        _add(reading, _issue(reading, detail), detail)
        return
    for raw in reading.repetitions(row[1]):
        parts = reading.parts(raw, 4)
        place, code = reading.component.join(parts[:3]), parts[3].replace(reading.subcomponent, reading.component)
        issue = {"severity": "error", "code": _condition(reading, code), "details": _details(reading, code)}
        _add(reading, compact({**issue, "location": _location(reading, place)}), detail)


def entry_done(reading: Reading, detail: Noted) -> None:
    """MFA: what became of one entry of a master file."""
    row = detail.row
    done = reading.part(row[4]) == _DONE
    said = concept(reading, row[4].split(reading.repetition, 1)[0])
    key = " ".join(text for raw in reading.repetitions(row[5]) if (text := reading.text(raw)))
    about = " ".join(part for part in (reading.part(row[1]), reading.part(row[2]), key) if part)
    severity, code = ("information", "informational") if done else ("error", "processing")
    _add(reading, compact({"severity": severity, "code": code, "details": said, "diagnostics": about}), detail)


def _header(reading: Reading) -> Json:
    """The message's header, with a response."""
    made = message_header(reading)
    header = reading.resources[made["reference"]]
    absent = {"extension": [absent_extension("unknown")]}
    header.setdefault("response", {"_identifier": dict(absent), "_code": dict(absent)})
    return header


def _add(reading: Reading, issue: Json, detail: Noted) -> None:
    header = _header(reading)
    if "contained" not in header:
        header["contained"] = [{"resourceType": "OperationOutcome", "id": _OUTCOME, "issue": []}]
        header["response"]["details"] = {"reference": f"#{_OUTCOME}"}
    notes = "\n".join(note["text"] for note in annotated(reading, detail.take_notes()))
    if notes:
        issue["diagnostics"] = "\n".join(part for part in (issue.get("diagnostics"), notes) if part)
    header["contained"][0]["issue"].append(issue)
    if issue["code"] in _TRANSIENT and header["response"].get("code") == "fatal-error":
        header["response"]["code"] = "transient-error"


def _issue(reading: Reading, detail: Noted) -> Json:
    row = detail.row
    said = reading.part(row[4])
    beside = None
    if said and said not in SEVERITIES:
        reading.find("code_unknown", detail.where + "-4")
        beside = status_extension(said, "", False)
    details = _details(reading, row[3])
    if own := concept(reading, row[5].split(reading.repetition, 1)[0]):
        details = {**own, "coding": [*(details or {}).get("coding", ()), *own.get("coding", ())]}
    if told := reading.exact(row[8]).strip():
        details = {**(details or {}), "text": told}
    diagnostics = [text for field in (7, 6) if (text := reading.exact(row[field]).strip())]
    return compact(
        {
            "severity": SEVERITIES.get(said, "error"),
            "_severity": beside,
            "code": _condition(reading, row[3]),
            "details": compact(details) if details else None,
            "diagnostics": "\n".join(diagnostics),
            "location": [place for raw in reading.repetitions(row[2]) for place in _location(reading, raw)],
        }
    )


def _condition(reading: Reading, raw: str) -> str:
    """The kind of issue that HL7 table 0357 says; any other is `processing`."""
    return CONDITIONS.get(reading.part(raw), "processing")


def _details(reading: Reading, raw: str) -> Json | None:
    """The error; a bare code is one of HL7 table 0357."""
    said = concept(reading, raw.split(reading.repetition, 1)[0])
    if said and said.get("coding") and "system" not in said["coding"][0] and said["coding"][0]["code"] in CONDITIONS:
        said["coding"][0] = {"system": TERMINOLOGY + "v2-0357", **said["coding"][0]}
    return said


def _location(reading: Reading, raw: str) -> list[str]:
    """ERL as analysts write it: `PID[1]-5[2].1`."""
    segment, number, field, repetition, *parts = reading.texts(raw, 6)[:6]
    if not segment:
        return []
    place = segment + (f"[{number}]" if number else "")
    if field:
        place += f"-{field}" + (f"[{repetition}]" if repetition else "")
    return [place + "".join(f".{part}" for part in parts if part)]
