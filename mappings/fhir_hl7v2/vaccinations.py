"""Immunization as VXU^V04: ORC, RXA, RXR and what is observed with each."""

from __future__ import annotations

from engine.errors import Held
from mappings.fhir_hl7v2.codes import concept, full_type
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.identifiers import NO_NUMBER, numbers, of_kind
from mappings.fhir_hl7v2.leaves import leaf, leaves, repeated
from mappings.fhir_hl7v2.names import people
from mappings.fhir_hl7v2.observations import Block
from mappings.fhir_hl7v2.persons import of_one_patient
from mappings.fhir_hl7v2.quantities import amount, unit
from mappings.fhir_hl7v2.writing import Json, Writing

#: RXA-20 (HL7 table 0322) and RXA-21 (0323). What was not done is RE, refused, only with a reason. Of a
#: record in error FHIR does not say whether anything was given: D deletes it, and RXA-20 does not claim it.
_COMPLETION = {"completed": ("CP", "A"), "entered-in-error": ("", "D"), "not-done": ("NA", "A")}
_UNKNOWN_AMOUNT = "999"  # RXA-6 is required; 999 says that it is not known (HL7 2.5.1 chapter 4.14.7.6)

_NEW = ("00", "New immunization record", "NIP001")
_HISTORICAL = ("01", "Historical information - source unspecified", "NIP001")

#: Elements that v2 has as observations of the order, with their LOINC codes (CDC guide for immunization messaging 1.5).
_OBSERVED = (
    ("fundingSource", "30963-3", "Vaccine funding source"),
    ("programEligibility", "64994-7", "Vaccine fund pgm elig cat"),
)


def vaccination_segments(w: Writing) -> list[str]:
    """All segments behind MSH."""
    found = w.of("Immunization")
    lines = of_one_patient(w, found).segments(w)
    for immunization in found:
        lines += _vaccination(w, immunization)
    return lines


def _vaccination(w: Writing, immunization: Json) -> list[str]:
    w.use(immunization)
    w.skip(immunization, "patient", "encounter")
    known = numbers(w, immunization)
    filler = of_kind(known, "FILL")
    placer = of_kind(known, "PLAC")
    filler = filler if filler.value else next((one for one in known if one != placer), NO_NUMBER)
    top = segment("ORC", {1: "RE", 2: placer.ei, 3: filler.ei})
    lines = [top, segment("RXA", _rxa(w, immunization))]
    route = {1: concept(w, immunization, "route", full=full_type(w, "CE"))}
    route[2] = concept(w, immunization, "site", full=full_type(w, "CWE" if w.options.since("2.5") else "CE"))
    if any(route.values()):
        lines.append(segment("RXR", route))
    return lines + _observed(w, immunization)


def _rxa(w: Writing, immunization: Json) -> Fields:
    fields: Fields = {1: "0", 2: "1"}
    dose = w.item(immunization, "doseQuantity")
    fields[6] = amount(w, dose) or _UNKNOWN_AMOUNT
    if fields[6] != _UNKNOWN_AMOUNT:
        fields[7] = unit(w, dose)
    fields[9] = _notes(w, immunization)
    performers = w.items(immunization, "performer")
    for performer in performers:
        w.skip(performer, "function")
    fields[10] = people(w, [w.target(performer, "actor", immunization) for performer in performers])
    fields[17] = _manufacturer(w, immunization)
    fields[20], fields[21] = _completion(w, immunization)
    fill(w, "RXA-Immunization", immunization, fields)
    if not fields.get(4):
        fields[4] = fields.get(3, "")
    if not fields.get(5):
        w.find("code_missing", "Immunization.vaccineCode")
    return fields


def _completion(w: Writing, immunization: Json) -> tuple[str, str]:
    """RXA-20 and RXA-21; a dose that does not count (`isSubpotent`) is PA, as the other direction reads it.

    Raises:
        Held: for a status that is unknown: empty, RXA-20 passes for CP (CDC guide for immunization messaging 1.5).
    """
    said = w.text(immunization, "status")
    if said == "not-done" and immunization.get("statusReason"):
        return "RE", "A"
    weak = w.flag(immunization, "isSubpotent")
    if said not in _COMPLETION or (weak is None and immunization.get("isSubpotent") is not None):
        raise Held(
            "it is not certain whether the vaccination was given whole: a receiver takes an empty status for done",
            code="not_convertible",
            where=f"Immunization.{'isSubpotent' if said in _COMPLETION else 'status'}",
            advice="Let the sender send a status of FHIR.",
        )
    return ("PA", "A") if weak and said == "completed" else _COMPLETION[said]


def _notes(w: Writing, immunization: Json) -> str:
    """RXA-9: whether it was given here or is history, and the notes, which VXU has no NTE for."""
    primary = w.flag(immunization, "primarySource")
    source = {True: leaves(_NEW), False: leaves(_HISTORICAL), None: ""}[primary]
    origin = concept(w, immunization, "reportOrigin", full=full_type(w, "CE")) if primary is False else ""
    said = [leaves(("", w.text(note, "text"))) for note in w.items(immunization, "note")]
    return repeated([origin or source, *said])


def _manufacturer(w: Writing, immunization: Json) -> str:
    """RXA-17: the manufacturer as a coded element."""
    found, reference = w.target(immunization, "manufacturer", immunization)
    name = w.text(found, "name") or w.text(reference, "display")
    identifier = w.item(found, "identifier") if found else w.item(reference, "identifier")
    value, system = w.text(identifier, "value"), identifier.get("system")
    w.skip(identifier, "system", "type", "use")
    return leaves((value, name, "MVX" if value and str(system).endswith("/mvx") else "")) if value or name else ""


def _observed(w: Writing, immunization: Json) -> list[str]:
    """Funding, eligibility and dose number as OBX."""
    block = Block()
    kind = "CWE" if full_type(w, "CE") else "CE"
    for name, code, words in _OBSERVED:
        for one in w.items(immunization, name):
            value = concept(w, {"it": one}, "it", full=kind == "CWE")
            block.put({2: kind, 3: leaves((code, words, "LN")), 4: "1", 5: value, 11: "F"})
    for protocol in w.items(immunization, "protocolApplied"):
        number = w.text(protocol, "doseNumberPositiveInt")
        text = w.text(protocol, "doseNumberString")
        if number or text:
            code = leaves(("30973-2", "Dose number in series", "LN"))
            block.put({2: "NM" if number else "ST", 3: code, 4: "1", 5: leaf(number or text), 11: "F"})
    return block.lines
