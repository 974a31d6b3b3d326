"""Who is to be told of a patient, Patient.contact and RelatedPerson, as NK1."""

from __future__ import annotations

from mappings.fhir_hl7v2.codes import concepts, full_type
from mappings.fhir_hl7v2.fields import Fields, segment
from mappings.fhir_hl7v2.leaves import joined
from mappings.fhir_hl7v2.names import addresses, person_name, telecoms
from mappings.fhir_hl7v2.writing import Json, Writing


def nk1(w: Writing, patient: Json) -> list[str]:
    """The NK1 of a patient's contacts; of RelatedPersons only where the patient has none, for they may be the same."""
    contacts = w.items(patient, "contact") if patient else []
    if contacts:
        return [_contact(w, contact, w.item(contact, "name"), n) for n, contact in enumerate(contacts, 1)]
    related = [one for one in w.of("RelatedPerson") if w.follow(w.item(one, "patient"), one) is patient]
    return [_contact(w, w.use(one), w.item(one, "name"), n) for n, one in enumerate(related if patient else (), 1)]


def _contact(w: Writing, contact: Json, name: Json, number: int) -> str:
    w.skip(name, "use")
    kinds = concepts(w, contact, "relationship", full=full_type(w, "CE"))
    fields: Fields = {1: str(number), 2: joined(person_name(w, name)), 3: kinds[0] if kinds else ""}
    if kinds[1:]:
        w.find("element_left_out", "Patient.contact.relationship")
    fields[4] = addresses(w, contact, "address")
    fields[5] = telecoms(w, contact, "telecom", "home")
    fields[6] = telecoms(w, contact, "telecom", "work")
    return segment("NK1", fields)
