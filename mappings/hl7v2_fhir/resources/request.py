"""ORC and OBR of an order as ServiceRequest: all that results do not say of the request that they answer.

What stands in maps/ORC-ServiceRequest.csv and maps/OBR-ServiceRequest.csv is filled from there; this is what is marked
`built` in them. A status is never better than the message says.
"""

from __future__ import annotations

from operator import itemgetter

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import extended, pair
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.datatypes.timing import Said, Schedule, of_tq, of_tq1, schedule
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.resources.order import asking, put_priority, put_unowned, requester_of
from mappings.hl7v2_fhir.resources.people import further_organizations, interpreters, practitioners
from mappings.hl7v2_fhir.standing import map_named
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import (
    CONFIDENTIALITY,
    ORDER_CONTROL,
    ORDER_STATUS,
    OWN,
    REQUEST_CONTROL,
    SECTION,
    STANDARD,
    Json,
    own_text,
)

NEW = frozenset({"", "NW", "RO", "SN", "PR", "CH", "PA", "RE", "RU"})
"""Order controls whose time (ORC-9) is that of the order; that of any other is the time of what it asks."""


def put_status(reading: Reading, found: Json, orc: Row, where: str) -> None:
    """ORC-5; only when it is empty ORC-1, as the IG has it, and for what the IG leaves open request-control."""
    said, control = reading.part(orc[5]), reading.part(orc[1])
    if said:
        found["status"] = ORDER_STATUS.get(said, "unknown")
        if said not in ORDER_STATUS:
            reading.find("status_unknown", where + "-5")
            found["_status"] = status_extension(said, "v2-0038", False)
        return
    found["status"] = ORDER_CONTROL.get(control) or REQUEST_CONTROL.get(control, "unknown")


def put_order_fields(reading: Reading, found: Json, orc: Row, where: str) -> None:
    """What ORC says of every kind of request: more numbers, the reason of the control, the time of a new order."""
    put_more_numbers(reading, found, orc)
    if reading.part(orc[1]) in NEW:
        put_time(reading, found, "authoredOn", orc[9], where + "-9")


def put_more_numbers(reading: Reading, found: Json, orc: Row) -> None:
    """The filler's group, alternate numbers, and ORC-16."""
    numbers = found.setdefault("identifier", [])
    if orc[4] and not orc[38] and (group := pair(reading, orc[4], 1, "FGN")) and reading.subcomponent in orc[4]:
        numbers.append(group)
    numbers += (made for raw in reading.repetitions(orc[33]) if (made := extended(reading, raw, "PLAC")))
    if not numbers:
        del found["identifier"]
    if reasons := concepts(reading, orc[16]):
        url = STANDARD + "request-statusReason"
        found.setdefault("extension", []).append({"url": url, "valueCodeableConcept": reasons[0]})


def put_security(reading: Reading, found: Json, orc: Row) -> None:
    """ORC-28 as a label on the resource alone; after `put`, whose test data tags are shared."""
    said = concept(reading, orc[28].split(reading.repetition, 1)[0]) if orc[28] else None
    if said is None:
        return
    code = reading.part(orc[28])
    label = CONFIDENTIALITY.get(code) or next(iter(said.get("coding", ())), {"display": said.get("text", code)})
    found["meta"] = {**found.get("meta", {}), "security": [label]}


def put_requester(reading: Reading, found: Json, row: Row, orc: Row) -> Json | None:
    """OBR-16, else ORC-12, with where they are reached and for whom they ask."""
    made = requester_of(reading, row, orc)
    if made:
        found["requester"] = made
    put_unowned(reading, found, row, orc)
    return made


def more_requesters(reading: Reading, row: Row, orc: Row, made: Json | None) -> list[tuple[str, Json]]:
    """Everybody in OBR-16 and ORC-12 but the requester, and every further facility of ORC-21, as authors."""
    people = asking(reading, row, orc)
    main = people[0] if people else made
    found: list[tuple[str, Json]] = []
    for other in people[1:] + further_organizations(reading, orc[21]):
        if other != main and ("author", other) not in found:
            found.append(("author", other))
    return found


def put_test(reading: Reading, found: Json, row: Row, where: str) -> None:
    """What OBR says that its map cannot: category, reasons, performers, and what `put_more_test` has."""
    if section := reading.part(row[24]):
        known = SECTION.get(section)
        found["category"] = [{"coding": [known]} if known else concept(reading, row[24])]
    if reasons := concepts(reading, row[31]):
        found["reasonCode"] = reasons
    if people := [person for number in (32, 33, 34) for person in interpreters(reading, row[number])]:
        found["performer"] = people
    for said in suggested(reading, row[25], "0123"):
        kept = {"url": OWN + "v2-result-status", "valueCodeableConcept": said}
        found.setdefault("extension", []).append(kept)
    put_more_test(reading, found, row)


def put_more_test(reading: Reading, found: Json, row: Row) -> None:
    """Clinical information, who gets copies, alternate numbers."""
    for said in concepts(reading, row[13]):
        about: Json = {"display": said.get("text") or said["coding"][0]["code"]}
        if any("system" in coding for coding in said.get("coding", ())):
            about["extension"] = [{"url": OWN + "v2-clinical-information", "valueCodeableConcept": said}]
        found.setdefault("supportingInfo", []).append(about)
    for person in practitioners(reading, row[28]):
        found.setdefault("extension", []).append({"url": OWN + "v2-copy-to", "valueReference": person})
    for raw in reading.repetitions(row[53]):
        if made := extended(reading, raw, "PLAC"):
            found.setdefault("identifier", []).append(made)


def says_more(reading: Reading, row: Row, orc: Row) -> bool:
    """True where ORC or OBR of a result says more of the request than what it is and who asked for it.

    Few do, and every result is asked: the fields behind those that all have are looked at only where a row has them.
    """
    if _few_of_obr(row) != _NOTHING or orc[7] or orc[8] or orc[10] or orc[11]:
        return True
    if reading.repetition in row[16] or (orc[12] and row[16] and orc[12] != row[16]):
        return True
    return (len(row) > _LONG_OBR and any(row[27:])) or (len(orc) > _LONG_ORC and any(orc[13:]))


_few_of_obr = itemgetter(9, 10, 11, 12, 13, 17, 18, 19, 20, 21)
_NOTHING = ("",) * 10
#: The lengths of padded rows without OBR-27 and ORC-13, or anything behind them.
_LONG_OBR = 27 + len(PADDING)
_LONG_ORC = 13 + len(PADDING)


def put_more(reading: Reading, found: Json, row: Row, orc: Row, where: str) -> None:
    """The rest of ORC and OBR of a request that results answer; in an order message all of it is put at once."""
    put_more_numbers(reading, found, orc)
    put_more_test(reading, found, row)
    put_unowned(reading, found, row, orc)
    if people := [person for number in (33, 34) for person in interpreters(reading, row[number])]:
        found["performer"] = people
    map_named(reading, "OBR", "OBR-ServiceRequest").fill(reading, row, found, where)
    map_named(reading, "ORC", "ORC-ServiceRequest").fill(reading, orc, found, "ORC")
    for said in old_timings(reading, orc, row, "ORC-7"):
        put_timing(reading, found, said)
    put_times(reading, found, row, where, specimen=True)
    if "basedOn" not in found and (numbers := parents_of(reading, orc, row)):
        found["basedOn"] = [{"type": "ServiceRequest", "identifier": number} for number in numbers]
    put_security(reading, found, orc)


def parents_of(reading: Reading, orc: Row, row: Row) -> list[Json]:
    """ORC-8, else OBR-54: the numbers of the order that this one came out of."""
    raw = (orc[8] or row[54]).split(reading.repetition, 1)[0]
    if not raw or raw == '""':
        return []
    found = (pair(reading, raw, 1, "FILL"), pair(reading, raw, 0, "PLAC"))
    return [number for number in found if number]


def old_timings(reading: Reading, orc: Row, row: Row, where: str) -> list[Said]:
    """ORC-7, else OBR-27: every TQ."""
    return [of_tq(reading, raw, where) for raw in reading.repetitions(orc[7] or row[27])]


def timed(reading: Reading, detail: Noted) -> None:
    """TQ1 as the timing of the request that it belongs to, TQ2 as text; without a request they say nothing."""
    main = reading.around.get("order")
    found = reading.resources.get(main["reference"], {}) if main else {}
    if found.get("resourceType") == "DocumentReference":  # the request that it answers
        found = reading.latest.get("ServiceRequest", {})
    if found.get("resourceType") != "ServiceRequest":
        return
    if detail.name == "TQ1":
        put_timing(reading, found, of_tq1(reading, detail.row, detail.where))
    else:
        put_sequence(reading, found, detail.row)


def put_sequence(reading: Reading, found: Json, row: Row) -> None:
    """TQ2: before or after which other order, as text."""
    parts = (reading.text(raw.replace(reading.component, " ")) for raw in row[2:11])
    if words := " ".join(text for text in parts if text):
        found.setdefault("extension", []).append(own_text("v2-sequence", words))


def put_timing(reading: Reading, found: Json, said: Said) -> None:
    """One timing of a ServiceRequest; of a second one only the words are kept: occurrence[x] is one."""
    made = schedule(reading, said)
    put_priority(reading, found, made.priority)
    if made.quantity:
        found.setdefault("quantityQuantity", made.quantity)
    if made.condition and "asNeededBoolean" not in found:
        found.setdefault("asNeededCodeableConcept", {"text": made.condition})
    elif made.as_needed and "asNeededCodeableConcept" not in found:
        found["asNeededBoolean"] = True
    if made.text:
        old = found.get("patientInstruction")
        found["patientInstruction"] = f"{old}\n{made.text}" if old else made.text
    if made.timing and not occurrence(found, made):
        made.left.append("timing " + _shown(made.timing))
        reading.find("timing_kept", said.where)
    found.setdefault("extension", []).extend(own_text("v2-timing", text) for text in made.left)
    if not found["extension"]:
        del found["extension"]


def occurrence(found: Json, made: Schedule) -> bool:
    """occurrence[x]: a time, a period, or a Timing; False where there is one already."""
    if any(name.startswith("occurrence") for name in found):
        return False
    repeat = made.timing.get("repeat", {})
    bounds = repeat.get("boundsPeriod", {})
    if made.timing.keys() == {"repeat"} and repeat.keys() == {"boundsPeriod"}:
        if bounds.keys() <= {"start", "_start"}:
            found.update({name.replace("start", "occurrenceDateTime"): value for name, value in bounds.items()})
        else:
            found["occurrencePeriod"] = bounds
    else:
        found["occurrenceTiming"] = made.timing
    return True


def _shown(timing: Json) -> str:
    code = timing.get("code", {})
    bounds = timing.get("repeat", {}).get("boundsPeriod", {})
    words = [code.get("text") or "".join(one["code"] for one in code.get("coding", ())[:1])]
    return " ".join(str(word) for word in (*words, bounds.get("start"), bounds.get("end")) if word)


def put_times(reading: Reading, found: Json, row: Row, where: str, specimen: bool) -> None:
    """OBR-36, OBR-6 and OBR-7 where no timing says when; beside an occurrence only an equal time is left out."""
    for number in (36, 6) if specimen else (36, 6, 7):
        made: Json = {}
        put_time(reading, made, "occurrenceDateTime", row[number], f"{where}-{number}")
        if not made:
            continue
        if any(name.startswith("occurrence") for name in found):
            said = str(made.get("occurrenceDateTime", reading.text(row[number])))
            if said not in str([value for name, value in found.items() if name.startswith("occurrence")]):
                found.setdefault("extension", []).append(own_text("v2-requested-time", said))
        else:
            found.update(made)
