"""What a conversion to HL7 v2 may report: every code with the sentence a person reads. No sentence holds a value."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, str] = {
    "element_left_out": "HL7 v2 has no place for this element, or not this version of it; it was not written.",
    "resource_left_out": "This resource is no part of the message; it was not written.",
    "reference_not_found": "What a reference names was not sent; only the reference's own words were used.",
    "status_unknown": "The status is unknown or no code of FHIR; the status field was left empty.",
    "status_differs": "The v2 code kept beside the status does not mean the same; the status itself was written.",
    "code_unknown": "The code has no HL7 v2 code in its table; the field was left empty.",
    "code_narrowed": "HL7 v2 has no code of just this meaning; the nearest one was written.",
    "code_missing": "A result, order or report has no code.",
    "time_invalid": "A date or time is none that FHIR allows; it was not written.",
    "time_precision": "A time has a finer fraction than HL7 v2 holds; the rest of it was left out.",
    "value_as_text": "The value has no data type in HL7 v2 that says all of it; it was written as text.",
    "dose_in_words": "No single dose with a unit is said; it stands in the instructions and notes only.",
    "attachment_invalid": "A document is not base64; it was not written.",
    "character_replaced": "A text holds half a character, which no encoding can write; it is now U+FFFD.",
    "patient_missing": "There is no patient; the message has no PID.",
    "order_without_number": "The order has neither a placer's nor a filler's number.",
}
