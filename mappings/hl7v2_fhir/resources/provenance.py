"""ORC-10, 11, 13 and 17 to 19 as Provenance: who entered an order, who verified it, who acted, and where.

A request has no element for them. Model: the IG's map ORC to Provenance.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.times import instant
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.people import practitioners, producer
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json, absent_extension

_ROLES = ((10, "enterer", "Enterer"), (11, "verifier", "Verifier"), (19, "performer", "Performer"))
_ACTIVITY = {"NW": "CREATE", "SC": "UPDATE", "XO": "UPDATE", "XX": "UPDATE", "CA": "CANCEL", "OC": "CANCEL"}


def put_provenance(reading: Reading, orc: Row, main: Json, others: list[tuple[str, Json]]) -> None:
    """Write the Provenance of an order, where somebody did something to it beside asking for it.

    `others` are more people with their roles, of fields outside ORC.
    """
    agents = _agents(reading, orc) + [_agent(role, role.capitalize(), who) for role, who in others]
    place = location_text(reading, orc[13])
    if not agents and not place:
        return
    kind, _, key = main["reference"].partition("/")
    control = reading.part(orc[1])
    found: Json = {"resourceType": "Provenance", "id": stable("Provenance", kind, key, control, reading.part(orc[9]))}
    found["target"] = [main]
    if recorded := instant(reading, orc[9]) or instant(reading, reading.header[7]):
        found["recorded"] = recorded
    else:
        found["_recorded"] = {"extension": [absent_extension("unknown")]}
    if place:
        found["location"] = {"display": place}
    if activity := _ACTIVITY.get(control):
        found["activity"] = {"coding": [{"system": TERMINOLOGY + "v3-DataOperation", "code": activity}]}
    found["agent"] = agents or [{"who": {"display": reading.sender}}]
    reading.put(found)


def _agents(reading: Reading, orc: Row) -> list[Json]:
    found = []
    place = producer(reading, orc[17])
    for number, code, display in _ROLES:
        for person in practitioners(reading, orc[number]):
            agent = _agent(code, display, person)
            if number == 10 and place:
                agent["onBehalfOf"] = place
            found.append(agent)
    if place and not any("onBehalfOf" in agent for agent in found):
        found.append(_agent("enterer", "Enterer", place))
    if device := concept(reading, orc[18].split(reading.repetition, 1)[0]):
        found.append(_agent("enterer", "Enterer", {"type": "Device", "display": _shown(device)}))
    return found


def _agent(code: str, display: str, who: Json) -> Json:
    system = TERMINOLOGY + "provenance-participant-type"
    return {"type": {"coding": [{"system": system, "code": code, "display": display}]}, "who": who}


def _shown(said: Json) -> str:
    return str(said.get("text") or said["coding"][0]["code"])


def location_text(reading: Reading, raw: str) -> str:
    """A location (PL or LA1) to show: every part that says something."""
    first = raw.split(reading.repetition, 1)[0]
    parts = first.replace(reading.subcomponent, reading.component)
    return " ".join(text for part in reading.texts(parts, 1) if (text := part))
