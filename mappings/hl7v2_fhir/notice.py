"""A short notice of a result for a pager: that there is one, how urgent, and the numbers to find it by.

It holds no name, no patient identifier, no test and no value: a pager's service is outside the clinic. The order
numbers are in it, because without them nobody can look the result up.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from engine.formats.hl7v2 import Message
from engine.model import Converted
from engine.ports import Conversion, Tables
from mappings.hl7v2_fhir.bundle import refuse_other_types
from mappings.hl7v2_fhir.datatypes.codes import flags
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.structure import Order, structure
from mappings.hl7v2_fhir.vocabulary import INTERPRETATION, Json

CRITICAL = frozenset({"HH", "LL", "AA", "<", ">"})
_NORMAL = frozenset({"N", "NEG", "ND", "NR", "S"})


def notice(parsed: Message, tables: Tables, context: Conversion) -> Converted:
    """Say in JSON that a result came, with its flags and order numbers.

    Raises:
        Held: code `not_convertible` for any message that is not a result.
    """
    refuse_other_types(parsed, ("ORU", "OUL"))
    reading = Reading(parsed, tables, context)
    people = structure(parsed)
    orders = [order for person in people for order in person.orders]
    results = [result for person in people for result in person.results]
    results += (result for order in orders for result in order.results)
    codes = sorted({code for result in results for code in _codes(reading, result.row[8])})
    said = {
        "kind": "result",
        "channel": context.channel,
        "sender": reading.sender,
        "control_id": reading.part(reading.header[10]),
        "test": reading.meta is not None,
        "critical": not CRITICAL.isdisjoint(codes),
        "flags": codes,
        "results": len(results),
        "abnormal": sum(not _NORMAL.issuperset(_codes(reading, result.row[8])) for result in results),
        "orders": list(_numbers(reading, orders)),
    }
    return Converted(orjson.dumps(said), "application/json")


def _codes(reading: Reading, raw: str) -> set[str]:
    """The flags that HL7 table 0078 knows; another one counts as abnormal (A)."""
    found = set()
    for flag in flags(reading, raw) if raw else ():
        code = flag.concept["coding"][0]["code"] if flag.known else "A"
        found.add(code if code in INTERPRETATION else "A")
    return found


def _numbers(reading: Reading, orders: Iterable[Order]) -> Iterable[Json]:
    seen = set()
    for order in orders:
        numbers = Numbers(reading, order)
        said = {
            "filler": numbers.filler["value"] if numbers.filler else "",
            "placer": numbers.placer["value"] if numbers.placer else "",
            "status": reading.part(order.row[25]),
        }
        if (key := tuple(said.values())) not in seen:
            seen.add(key)
            yield said
