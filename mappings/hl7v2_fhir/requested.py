"""One OBR of a message that is about something else: the ServiceRequest that a document or a charge answers.

Its result status (OBR-25) is about results that are elsewhere: without results in the message there is no report.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.orders import request
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.results import result
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import Json

_RESULT_STATUS = 25


def requested(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """The request, under the id that its results have given it; where results follow, those as well."""
    if order.results:
        return result(reading, order, numbers, setting, family)
    order.row = [*order.row[:_RESULT_STATUS], "", *order.row[_RESULT_STATUS + 1 :]]
    return request(reading, order, numbers, setting, family)
