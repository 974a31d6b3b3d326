"""MRG: what becomes of the record, visit or account that a patient's new one replaces, and never more than is said.

* Merged or renumbered (A18, A30, A34, A36, A39, A40, A46, A47, A48): the prior Patient is no longer active and is
  replaced by the one that PID names, which replaces it.
* Visits moved, renumbered or merged (A42, A45, A50): the visit under its new number and patient is written by PV1; the
  one under another old number is entered in error. The prior patient stays as it is. Where a change of class (A06,
  A07) gives a visit a new number, the old number is kept with it and the visit under it is left as it is.
* Accounts moved (A43, A44) or merged (A35, A41, A49): the account belongs to the patient of PID; a merged one is
  inactive.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import names
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.account import account
from mappings.hl7v2_fhir.resources.encounter import event_of
from mappings.hl7v2_fhir.resources.patient import best_of
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import Json, absent_extension

_PATIENTS = frozenset({"A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47", "A48"})
_VISITS = frozenset({"A06", "A07", "A42", "A45", "A50", "A51"})
_SUPERSEDED = frozenset({"A06", "A07"})
_ACCOUNTS_ENDED = frozenset({"A35", "A36", "A41", "A49"})
_ACCOUNTS_MOVED = frozenset({"A44"})

_PAIR = 2  # patients that one A24 links
_PENDING = "merge of the next visit"


def merge(reading: Reading, mrg: Noted) -> None:
    """Do what the event says. A visit's MRG stands before its PV1; the first PV1 is written already."""
    event = event_of(reading)
    row = mrg.row
    if event in _PATIENTS:
        _merge_patients(reading, row)
    elif event in _VISITS:
        if "merged" in reading.around:
            reading.around[_PENDING] = {"row": row}
        else:
            reading.around["merged"] = {"row": row}
            move_visit(reading, row)
    elif event not in _ACCOUNTS_ENDED | _ACCOUNTS_MOVED:
        reading.find("move_not_converted", mrg.where)
    if event in _ACCOUNTS_ENDED | _ACCOUNTS_MOVED:
        _accounts(reading, row, event in _ACCOUNTS_ENDED)


def _merge_patients(reading: Reading, row: Row) -> None:
    survivor = reading.around.get("patient")
    prior = [
        found for field, kind in ((1, ""), (4, ""), (2, "")) for raw in reading.repetitions(row[field])
        if (found := extended(reading, raw, kind))
    ]  # fmt: skip
    if survivor is None or not prior:
        reading.find("merge_without_identifier", "MRG-1")
        return
    best = best_of(prior)
    key = stable("Patient", best["system"], best["value"])
    reference = {"reference": f"Patient/{key}"}
    if reference == survivor:
        return  # renumbered in another authority: the record is one already
    old: Json = {"resourceType": "Patient", "id": key, "identifier": prior}
    if called := names(reading, row[7]):
        old["name"] = called
    reading.put_beside(old)
    old = reading.resources[reference["reference"]]  # the survivor of an earlier merge, where there was one
    old["active"] = False
    old.setdefault("link", []).append({"other": survivor, "type": "replaced-by"})
    links = reading.resources[survivor["reference"]].setdefault("link", [])
    links.append({"other": reference, "type": "replaces"})


def move_visit(reading: Reading, row: Row) -> None:
    """The visit that was written last keeps its old number; a visit under another old number was an error."""
    seen = reading.around.get("encounter")
    raw = row[5].split(reading.repetition, 1)[0]
    number = extended(reading, raw, "VN") if raw else None
    if number is None:
        return
    key = stable("Encounter", number["system"], number["value"])
    if seen is None or seen["reference"] == f"Encounter/{key}":
        return
    visit = reading.resources[seen["reference"]]
    visit.setdefault("identifier", []).append({"use": "old", **number})
    if event_of(reading) in _SUPERSEDED:
        return
    more = [found for part in reading.repetitions(row[6]) if (found := extended(reading, part))]
    old: Json = {"resourceType": "Encounter", "id": key, "identifier": [number, *more], "status": "entered-in-error"}
    old["class"] = {"extension": [absent_extension("unknown")]}
    reading.put_beside(old)


def finish(reading: Reading) -> None:
    """What an event says of the patients as a whole: linked (A24), or the person's data deleted (A29)."""
    event = event_of(reading) if reading.header[9][:3] == "ADT" else ""
    if event not in ("A24", "A29"):
        return
    patients = [found for found in reading.resources.values() if found["resourceType"] == "Patient"]
    if event == "A29":
        for found in patients:
            found["active"] = False
    elif len(patients) == _PAIR:
        for found, other in zip(patients, reversed(patients), strict=True):
            link = {"other": {"reference": f"Patient/{other['id']}"}, "type": "seealso"}
            found.setdefault("link", []).append(link)


def next_visit(reading: Reading) -> None:
    """What the MRG before this further PV1 says of it."""
    if pending := reading.around.pop(_PENDING, None):
        move_visit(reading, pending["row"])


def _accounts(reading: Reading, row: Row, ended: bool) -> None:
    """The prior account: ended by a merge, or moved to this patient."""
    if row[3]:
        account(reading, row[3], reading.around.get("patient"), "inactive" if ended else "unknown", beside=True)
