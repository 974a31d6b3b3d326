"""Dosage and Timing as TQ1, and as quantity/timing (TQ) for versions before 2.5."""

from __future__ import annotations

from typing import NamedTuple

from mappings.fhir_hl7v2.clock import choice, period
from mappings.fhir_hl7v2.codes import code_of, shown
from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.leaves import joined, leaf, placed
from mappings.fhir_hl7v2.quantities import composite, digits
from mappings.fhir_hl7v2.vocabulary import own
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of, word
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_ABBREVIATIONS = (TERMINOLOGY + "v3-GTSAbbreviation",)

#: Units of time in UCUM, as the interval of a repeat pattern names them (HL7 table 0335: Q<n>S, M, H, D, W, L).
_INTERVAL = {"s": "S", "min": "M", "h": "H", "d": "D", "wk": "W", "mo": "L"}


class Timing(NamedTuple):
    """What TQ1 says of one dosage or order, escaped."""

    quantity: str = ""
    pattern: str = ""
    duration: str = ""
    start: str = ""
    end: str = ""
    priority: str = ""
    condition: str = ""
    text: str = ""
    occurrences: str = ""

    def tq1(self, number: int) -> str:
        """As TQ1."""
        fields: Fields = {1: str(number), 2: self.quantity, 3: self.pattern, 6: self.duration, 7: self.start}
        fields |= {8: self.end, 9: self.priority, 10: self.condition, 11: self.text, 14: self.occurrences}
        return segment("TQ1", fields)

    @property
    def tq(self) -> str:
        """As TQ, whose components 2 and 12 are interval and total occurrences."""
        quantity = self.quantity.replace("^", "&")
        return placed([(1, quantity), (2, self.pattern), (4, self.start), (5, self.end), (6, self.priority),
                       (8, self.text or self.condition), (12, self.occurrences)])  # fmt: skip


def priority(w: Writing, request: Json) -> str:
    """The priority of HL7 table 0485."""
    said = w.text(request, "priority")
    found = own("priority").get(said, "")
    if said and (not found or said == "urgent"):
        w.find("code_narrowed" if found else "code_unknown", f"{kind_of(request)}.priority")
    return found


def of_order(w: Writing, request: Json) -> Timing:
    """The timing of a ServiceRequest."""
    urgent = priority(w, request)
    start, end = choice(w, request, "occurrence", "ServiceRequest")
    timed = _timing(w, w.item(request, "occurrenceTiming"), "ServiceRequest.occurrenceTiming")
    return timed._replace(priority=urgent, start=start or timed.start, end=end or timed.end)


def of_dosage(w: Writing, dosage: Json, urgent: str) -> Timing:
    """The timing of one dosage; its text, too, so that nothing hangs on how a pattern is read."""
    timed = _timing(w, w.item(dosage, "timing"), "MedicationRequest.dosageInstruction.timing")
    reason = shown(w, w.item(dosage, "asNeededCodeableConcept"))
    needed = w.flag(dosage, "asNeededBoolean") or reason
    # HL7 table 0335: PRNxxx is "as needed", xxx a frequency
    pattern = f"PRN{timed.pattern}" if needed and "PRN" not in timed.pattern else timed.pattern
    return timed._replace(priority=urgent, pattern=pattern, condition=leaf(reason))


def _timing(w: Writing, timing: Json, where: str) -> Timing:
    """A Timing: its code (BID), else its interval (Q6H); what neither says is reported as left out."""
    repeat = w.item(timing, "repeat")
    bounds = w.item(repeat, "boundsPeriod")
    start, end = period(w, bounds, where) if bounds else ("", "")
    duration = composite(w, w.item(repeat, "boundsDuration"))
    count = digits(repeat.get("count"))
    if count:
        w.skip(repeat, "count")
    code = w.item(timing, "code")
    pattern = code_of(w, code, _ABBREVIATIONS) or _interval(w, repeat)
    return Timing("", leaf(pattern), duration, start, end, "", "", leaf(w.text(code, "text")), count)


def _interval(w: Writing, repeat: Json) -> str:
    """`Q6H` of once in 6 hours; "" where the repeat says more or other than that."""
    number, unit = digits(repeat.get("period")), _INTERVAL.get(word(repeat, "periodUnit"), "")
    plain = repeat.get("frequency") in (1, None) and repeat.keys() <= _PLAIN
    if not (unit and number.isdigit() and plain):
        return ""
    w.skip(repeat, "period", "periodUnit", "frequency")
    return f"Q{number}{unit}"


_PLAIN = frozenset({"frequency", "period", "periodUnit", "boundsPeriod", "boundsDuration", "count"})


def instructions(w: Writing, dosage: Json) -> str:
    """What the dosage says in words."""
    found = [w.text(dosage, "text"), w.text(dosage, "patientInstruction")]
    return joined((leaf(" ".join(text for text in found if text)),))
