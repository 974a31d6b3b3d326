"""ORC-1 as Task: what somebody asks to be done about an order, and what the other side answered.

A new order (NW) is its request, and results (RE) are their own: neither is a Task. A question and its answer are one
Task, named by the order and what is to be done, so that the answer (CR, UC) updates what the question (CA) wrote.
"""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row, compact
from mappings.hl7v2_fhir.vocabulary import TASK_CODE, TASK_STATUS, TERMINOLOGY, Json

_NOTHING_ASKED = frozenset({"", "NW", "RE", "PR", "CH", "PA", "RO", "SC"})
"""New orders, results, a status that ORC-5 says, and the parts of an order that are orders themselves."""


def put_task(reading: Reading, orc: Row, key: tuple[str, ...], about: Json, requester: Json | None) -> Json | None:
    """Write the Task of an ORC; None where it asks and answers nothing. `about` is the order's resource."""
    control = reading.part(orc[1])
    if control in _NOTHING_ASKED:
        return None
    action = TASK_CODE.get(control)
    name = action["code"] if action else control
    v2 = {"system": TERMINOLOGY + "v2-0119", "code": control} if control in TASK_STATUS else None
    codings = [coding for coding in (action, v2) if coding]
    found: Json = {"resourceType": "Task", "id": stable("Task", *key, name)}
    found["status"] = TASK_STATUS.get(control, "draft")
    found["statusReason"] = concept(reading, orc[16].split(reading.repetition, 1)[0])
    found["intent"] = "order"
    found["code"] = {"coding": codings} if codings else {"text": control}
    found["focus"] = {"reference": f"{about['resourceType']}/{about['id']}"}
    found["for"] = about["subject"] if "reference" in about.get("subject", {}) else None
    found["encounter"] = about.get("encounter")
    put_time(reading, found, "authoredOn", orc[9], "ORC-9")
    found["requester"] = requester
    if control not in TASK_STATUS:
        reading.find("control_unknown", "ORC-1", control)
    return reading.put(compact(found))
