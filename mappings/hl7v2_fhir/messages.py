"""Which message types are converted, and what makes the resources of an order in each.

One line a type, one builder a kind of request (`ORC` is one that no request follows). What stands for itself (AL1, DG1,
NK1 and so on) needs no line here: its map in maps/ is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.observation import Setting
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.results import result
from mappings.hl7v2_fhir.standing import Builder
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import Json

OrderBuilder = Callable[[Reading, Order, Numbers, Setting, Family], Json | None]
"""Makes the resources of one order: (reading, the order, its numbers, whose it is, the orders made so far).

Gives back the reference to the main one: the order's details may add to it (`reading.latest`) and refer to it
(`order`)."""

RESULTS: Mapping[str, OrderBuilder] = {"OBR": result}

ORDERS: Mapping[str, Mapping[str, OrderBuilder]] = {
    "ADT": {},
    "ORU": RESULTS,
    "OUL": RESULTS,
}
"""By message type and by the segment that an order begins with."""

BUILDERS: Mapping[str, Builder] = {}
"""By segment: what a map cannot say."""

SUPPORTED = tuple(sorted(ORDERS))
"""The types of message that are converted to FHIR."""
