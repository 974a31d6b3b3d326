"""One order of a pharmacy: each of its segments a resource, with the routes, components and timings that follow it.

As many requests, dispensings and administrations come out as RXO, RXE, RXG, RXD and RXA stand in the message.
"""

from __future__ import annotations

from engine.errors import Held
from mappings.hl7v2_fhir.datatypes.notes import annotated
from mappings.hl7v2_fhir.microbiology import Family
from mappings.hl7v2_fhir.reading import PADDING, Reading
from mappings.hl7v2_fhir.resources.dispense import dispense
from mappings.hl7v2_fhir.resources.dosage import Part
from mappings.hl7v2_fhir.resources.given import administration
from mappings.hl7v2_fhir.resources.observation import Setting, observations
from mappings.hl7v2_fhir.resources.order import Numbers
from mappings.hl7v2_fhir.resources.prescription import Rx, cancelled, prescription
from mappings.hl7v2_fhir.resources.provenance import put_provenance
from mappings.hl7v2_fhir.resources.request import more_requesters
from mappings.hl7v2_fhir.resources.task import put_task
from mappings.hl7v2_fhir.structure import MEDICATION, Noted, Order
from mappings.hl7v2_fhir.vocabulary import Json

_MAKERS = {"RXO": prescription, "RXE": prescription, "RXG": prescription, "RXD": dispense, "RXA": administration}
_FOLLOWERS = {"TQ1": "timings", "RXR": "routes", "RXC": "components", "CDO": "limits"}
_PRESCRIPTION_NUMBER = {"RXE": 15, "RXD": 7}


def medication(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json | None:
    """RXO, RXE, RXD, RXG and RXA of one ORC; a reference to the last one, which is the furthest."""
    parts = _parts(order)
    rx = _rx(reading, order, numbers, setting, parts)
    made: Json | None = None
    for part in parts:
        made = _MAKERS[part.segment.name](reading, part, rx)
    if made is not None:
        _afterwards(reading, rx, made)
    return made


def medication_control(reading: Reading, order: Order, numbers: Numbers, setting: Setting, family: Family) -> Json:
    """An ORC of a pharmacy that no request follows: a cancellation or an answer by number.

    Raises:
        Held: code `not_convertible` where the ORC has no number: nobody could tell which order it is about.
    """
    if not numbers.key:
        raise Held(
            "an order without a request names no order",
            code="not_convertible",
            where=f"ORC[{order.number}]-2",
            advice="Ask the sender for the placer's or filler's number of the order, or end the message.",
        )
    rx = _rx(reading, order, numbers, setting, [])
    made = cancelled(reading, rx)
    _afterwards(reading, rx, made)
    return made


def _parts(order: Order) -> list[Part]:
    """Each pharmacy segment with what follows it; what is taken here is no detail any more.

    Timings behind ORC are those of every segment that has none of its own.
    """
    first = Part(order)
    parts = [first]
    above = order.orc.details if order.orc else []
    shared = [detail for detail in above if detail.name == "TQ1"]
    rest: list[Noted] = []
    for detail in order.details:
        if detail.name in MEDICATION:
            parts.append(Part(detail))
        elif detail.name in _FOLLOWERS:
            getattr(parts[-1], _FOLLOWERS[detail.name]).append(detail)
        else:
            rest.append(detail)
    for part in parts:
        part.timings = part.timings or shared
    order.details = rest
    if order.orc:
        order.orc.details = [detail for detail in above if detail.name != "TQ1"]
    return parts


def _rx(reading: Reading, order: Order, numbers: Numbers, setting: Setting, parts: list[Part]) -> Rx:
    key = numbers.asked or _other_number(reading, parts)
    if not key:
        reading.find("order_without_number", f"{order.where}")
        key = (reading.sender, reading.own_name)
    results = observations(reading, order.results, setting, reading.scope("Observation", *key)) if order.results else []
    return Rx(
        orc=order.orc.row if order.orc else PADDING,
        where=order.orc.where if order.orc else "ORC",
        numbers=numbers,
        key=key,
        setting=setting,
        notes=annotated(reading, order.orc.notes) if order.orc else [],
        observations=results,
    )


def _other_number(reading: Reading, parts: list[Part]) -> tuple[str, ...]:
    """The prescription number, where ORC has none."""
    for part in parts:
        number = _PRESCRIPTION_NUMBER.get(part.segment.name)
        if number and (value := reading.part(part.segment.row[number])):
            return ("prescription", reading.sender, value)
    return ()


def _afterwards(reading: Reading, rx: Rx, main: Json) -> None:
    """What is asked about the order, and who did something to it."""
    about = reading.resources[(rx.request or main)["reference"]]
    put_task(reading, rx.orc, rx.key, about, about.get("requester"))
    put_provenance(reading, rx.orc, main, more_requesters(reading, PADDING, rx.orc, about.get("requester")) + rx.others)
