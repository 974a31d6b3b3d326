"""TQ1 behind SCH: when the appointment is. Behind a request it is the request's."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.appointment import booking_of
from mappings.hl7v2_fhir.resources.instants import moment
from mappings.hl7v2_fhir.resources.request import timed
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import OWN


def timing(reading: Reading, detail: Noted) -> None:
    """TQ1-7 and 8 as start and end, TQ1-9 the priority, of the appointment that is being read; else the request's."""
    booking = booking_of(reading)
    if booking is None or "order" in reading.around:
        timed(reading, detail)
        return
    row = detail.row
    moment(reading, booking.found, "start", row[7], detail.where + "-7")
    moment(reading, booking.found, "end", row[8], detail.where + "-8")
    if priority := concept(reading, row[9].split(reading.repetition, 1)[0]):
        booking.extend([{"url": OWN + "v2-appointment-priority", "valueCodeableConcept": priority}])
