"""Which message types are converted, and what makes the resources of an order in each.

One line a type, one builder a kind of request (`ORC` is one that no request follows). What stands for itself (AL1, DG1,
NK1 and so on) needs no line here: its map in maps/ is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mappings.hl7v2_fhir.administration import ADMINISTRATION
from mappings.hl7v2_fhir.master_files import ANSWERS, MASTER_FILES
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.orders import control, request
from mappings.hl7v2_fhir.pharmacy import medication, medication_control
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.requested import requested
from mappings.hl7v2_fhir.resources.appointment import appointment
from mappings.hl7v2_fhir.resources.appointment_people import BUILDERS as APPOINTMENTS
from mappings.hl7v2_fhir.resources.appointment_times import timing
from mappings.hl7v2_fhir.resources.container import loose_container
from mappings.hl7v2_fhir.resources.document import document
from mappings.hl7v2_fhir.resources.immunization import immunization
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.resources.reason import reasoned
from mappings.hl7v2_fhir.resources.request import timed
from mappings.hl7v2_fhir.results import result
from mappings.hl7v2_fhir.standing import Builder
from mappings.hl7v2_fhir.structure import MEDICATION, Order
from mappings.hl7v2_fhir.vocabulary import Json

OrderBuilder = Callable[[Reading, Order, Numbers, Setting, Family], Json | None]
"""Makes the resources of one order: (reading, the order, its numbers, whose it is, the orders made so far).

Gives back the reference to the main one: the order's details may add to it (`reading.latest`) and refer to it
(`order`)."""

RESULTS: Mapping[str, OrderBuilder] = {"OBR": result, "TXA": document}

VACCINES: Mapping[str, OrderBuilder] = {"RXA": immunization}
"""A registry answers a query (RSP, VXR) with the same segments that it is told a vaccination in."""

PHARMACY: Mapping[str, OrderBuilder] = dict.fromkeys(sorted(MEDICATION), medication) | {"ORC": medication_control}

REQUESTS: Mapping[str, OrderBuilder] = {**PHARMACY, "OBR": request, "ORC": control}

ORDERS: Mapping[str, Mapping[str, OrderBuilder]] = {
    **{kind: {} for kind in ANSWERS},
    "ADT": RESULTS,
    "BAR": {},
    "DFT": {"OBR": requested},
    "MFN": {},
    "MDM": {"OBR": requested, "TXA": document},
    **dict.fromkeys(("OMP", "ORP", "RDE", "RRE", "RDS", "RRD", "RGV", "RRG", "RAS", "RRA"), PHARMACY),
    "OMG": REQUESTS,
    "OMI": REQUESTS,
    "OML": REQUESTS,
    "ORF": RESULTS,
    "ORG": REQUESTS,
    "ORI": REQUESTS,
    "ORL": REQUESTS,
    "ORM": REQUESTS,
    "ORR": REQUESTS,
    "ORU": RESULTS,
    "OUL": RESULTS,
    "PGL": REQUESTS,
    "PPP": REQUESTS,
    "PPR": REQUESTS,
    "REF": RESULTS,
    "RSP": {**dict.fromkeys(sorted(MEDICATION), medication), **VACCINES},
    "SIU": {},
    "VXR": VACCINES,
    "VXU": VACCINES,
}
"""By message type and by the segment that an order begins with."""

BUILDERS: Mapping[str, Builder] = {
    **APPOINTMENTS,
    "SCH": appointment,
    **ADMINISTRATION,
    "DG1": reasoned,
    **MASTER_FILES,
    "SAC": loose_container,
    "TQ1": timing,
    "TQ2": timed,
}
"""By segment: what a map cannot say."""

SUPPORTED = tuple(sorted(ORDERS))
"""The types of message that are converted to FHIR."""
