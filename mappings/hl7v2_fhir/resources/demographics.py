"""What PID says beyond who the patient is: race, religion, origin, identity, mother, animals. Most is extensions."""

from __future__ import annotations

from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.identifiers import extended
from mappings.hl7v2_fhir.datatypes.names import names, telecoms
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.vocabulary import (
    ETHNICITY_CATEGORY,
    OWN,
    RACE_CATEGORY,
    RELATIONSHIP,
    RELIGION,
    STANDARD,
    Json,
    own_text,
)

_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
_OWN_CONCEPTS = (
    (27, OWN + "v2-veteran-status", ""),
    (32, OWN + "v2-identity-reliability", "0445"),
    (38, OWN + "v2-production-class", ""),
)


def more_of(reading: Reading, found: Json, pid: Row) -> None:
    """Add to the Patient what the fields say."""
    if pid[12]:
        _county(reading, found, reading.part(pid[12]))
    if pid[40] and (reached := telecoms(reading, pid[40])):
        found["telecom"] = [*found.get("telecom", ()), *(one for one in reached if one not in found.get("telecom", ()))]
    extensions: list[Json] = found.get("extension", [])
    extensions += _groups(reading, pid)
    extensions += _religion(reading, pid[17])
    if text := reading.text(pid[23]):
        extensions.append({"url": STANDARD + "patient-birthPlace", "valueAddress": {"text": text}})
    for field, name in ((26, "patient-citizenship"), (39, "patient-citizenship"), (28, "patient-nationality")):
        extensions += (
            {"url": STANDARD + name, "extension": [{"url": "code", "valueCodeableConcept": said}]}
            for said in suggested(reading, pid[field], "")
        )
    for field, url, table in _OWN_CONCEPTS:
        extensions += ({"url": url, "valueCodeableConcept": said} for said in suggested(reading, pid[field], table))
    if (known := reading.part(pid[31])) in ("Y", "N"):
        extensions.append(own_text("v2-identity-unknown", known))
    extensions += _animal(reading, pid)
    if extensions:
        found["extension"] = extensions


def _county(reading: Reading, found: Json, county: str) -> None:
    """PID-12 belongs to the first address, which may be nothing but that."""
    if not county:
        return
    if not found.get("address"):
        found["address"] = [{"district": county}]
    else:
        found["address"][0].setdefault("district", county)


def _groups(reading: Reading, pid: Row) -> list[Json]:
    """Race and ethnic group: as US Core says them where the codes are those of the CDC, else as the sender does."""
    found: list[Json] = []
    for field, name, known in ((10, "race", RACE_CATEGORY), (22, "ethnicity", ETHNICITY_CATEGORY)):
        said = suggested(reading, pid[field], "") if pid[field] else []
        categories = [known[code] for one in said if (code := _code(one)) in known]
        if categories and len(categories) == len(said):
            parts: list[Json] = [{"url": "ombCategory", "valueCoding": coding} for coding in categories]
            pairs = zip(said, categories, strict=True)
            text = ", ".join(one.get("text") or coding["display"] for one, coding in pairs)
            parts.append({"url": "text", "valueString": text})
            found.append({"url": f"{_US_CORE}us-core-{name}", "extension": parts})
        elif field == 10:
            found += ({"url": OWN + "v2-race", "valueCodeableConcept": one} for one in said)
        else:
            found += ({"url": OWN + "v2-ethnic-group", "valueCodeableConcept": one} for one in said)
    return found


def _code(said: Json) -> str:
    return str(said.get("coding", [{}])[0].get("code", ""))


def _religion(reading: Reading, raw: str) -> list[Json]:
    said = concept(reading, raw.split(reading.repetition, 1)[0]) if raw else None
    if said is None:
        return []
    known = RELIGION.get(_code(said))
    if known and not said["coding"][0].get("system", "").startswith("urn:"):
        said = {**said, "coding": [known, *said["coding"]]}
    return [{"url": STANDARD + "patient-religion", "valueCodeableConcept": said}]


def _animal(reading: Reading, pid: Row) -> list[Json]:
    """Species, breed and strain; the extension needs a species."""
    species = suggested(reading, pid[35], "")
    found: list[Json] = [{"url": "species", "valueCodeableConcept": species[0]}] if species else []
    if found and (breed := suggested(reading, pid[36], "")):
        found.append({"url": "breed", "valueCodeableConcept": breed[0]})
    animal = [{"url": STANDARD + "patient-animal", "extension": found}] if found else []
    return animal + ([own_text("v2-strain", text)] if (text := reading.text(pid[37])) else [])


def mother(reading: Reading, pid: Row, subject: Json) -> None:
    """PID-21: the mother, known by her number, and by her maiden name where PID-6 gives it."""
    numbers = [number for raw in reading.repetitions(pid[21]) if (number := extended(reading, raw))]
    if not numbers:
        return
    key = stable("RelatedPerson", subject["reference"], "MTH", numbers[0]["system"], numbers[0]["value"])
    found: Json = {"resourceType": "RelatedPerson", "id": key, "identifier": numbers, "patient": subject}
    found["relationship"] = [{"coding": [RELATIONSHIP["MTH"]]}]
    if called := names(reading, pid[6]):
        found["name"] = [{**name, "use": "maiden"} for name in called]
    reading.put(found)
