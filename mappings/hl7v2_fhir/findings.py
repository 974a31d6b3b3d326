"""What a conversion may report: every code with the sentence a person reads. No sentence holds a value."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, str] = {
    "unmapped": "The table has no entry for this code; the local code was kept.",
    "status_unknown": "The status code is not in its HL7 table; FHIR status unknown, the code is kept beside it.",
    "status_missing": "There is no result status; FHIR status unknown.",
    "status_better_than_results": "The report is final while some of its results are not.",
    "not_a_number": "A numeric result holds something else; it was kept as text.",
    "not_a_time": "A date or time result is not one; it was kept as text.",
    "not_structured": "A structured numeric result does not follow its type; it was kept as text.",
    "type_unknown": "The value type is not an HL7 data type of results; the value was kept as text.",
    "attachment_invalid": "An embedded document is not encoded as it says; its text was kept as it came.",
    "flag_unknown": "An abnormal flag is not in HL7 table 0078; it was kept as text.",
    "unit_unknown": "The unit names a code system in which it has no code; it was kept as text.",
    "time_invalid": "A date or time is not possible; it was left out and the original kept beside it.",
    "time_ambiguous": "A local time falls into a change of clocks; the earlier offset was taken, the original kept.",
    "time_precision": "A time has an hour and no minute; the date was taken and the original kept.",
    "zone_unknown": "A time has no offset, and neither MSH-7 nor the channel gives one; the date was taken.",
    "code_missing": "A result or report has no code.",
    "patient_without_identifier": "The patient has no identifier; the patient is known within this message only.",
    "patient_missing": "There is no patient segment; the results stand without a subject.",
    "order_without_number": "The order has neither filler nor placer number; a correction cannot find it.",
    "appointment_without_number": "The appointment has no number; a later message about it cannot find it.",
    "document_without_number": "The document has no number; a later version of it cannot find it.",
    "parent_not_found": "The parent result or order is not in this message; its identifiers were kept.",
    "nothing_but_header": "The message holds no result and no patient: it may have been cut short.",
    "code_unknown": "The code is not in its HL7 table or has no FHIR code; the v2 code was kept beside the element.",
    "not_converted": "A kind of order that this type of message has no conversion for; it was left out.",
    "number_invalid": "A number is not one; it was kept as text beside the element.",
    "guarantor_without_account": "A guarantor is an organization, and there is no account that could name it.",
    "merge_without_identifier": "A merge does not say which record is merged; nothing was linked.",
    "move_not_converted": "What this event moves or merges has no conversion; only the patient and visit were written.",
    "discharge_cancelled": "The discharge was cancelled; the time of discharge that is still there was left out.",
    "control_unknown": "The order control is not in HL7 table 0119; the Task is a draft with the code as text.",
    "timing_kept": "A part of a timing has no FHIR form that is certain; it was kept as text.",
    "sex_unknown": "The sex is not in HL7 table 0001; FHIR gender unknown.",
}
