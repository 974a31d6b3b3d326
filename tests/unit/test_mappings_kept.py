"""What a message says a second time, elsewhere or in an odd place is kept: nothing is dropped for being beside more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from result_messages import CONTEXT, HEAD, OBR, PID, TABLES, convert, of

from engine.formats.hl7v2 import read
from mappings.hl7v2_fhir.datatypes.codes import concept
from mappings.hl7v2_fhir.datatypes.names import addresses
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.reading import Reading

ORDER_HEAD = HEAD.replace("ORU^R01", "OML^O21")
OBX = "OBX|1|NM|K^Potassium^L||4.1|||||F"


def segment(name: str, **fields: str) -> str:
    """A segment with fields by number."""
    row = [name, *[""] * max(int(number[1:]) for number in fields)]
    for number, value in fields.items():
        row[int(number[1:])] = value
    return "|".join(row)


def obr(**fields: str) -> str:
    return segment("OBR", **{"f1": "1", "f2": "P1", "f3": "F1^LAB", "f4": "BMP^Panel^L", **fields})


def reading() -> Reading:
    return Reading(read(HEAD.encode()), TABLES, CONTEXT)


def text_of(made: Any) -> str:
    return json.dumps(json.loads(made.payload))


@pytest.mark.parametrize("head", [HEAD, ORDER_HEAD])
class TestWhoAsks:
    def test_one_person_with_two_numbers_keeps_both(self, head: str) -> None:
        made = convert(
            head, PID, segment("ORC", f1="NW", f12="1999999999^Ash^Bea^^^^^^^^^^NPI"), obr(f16="77^Ash^Bea"), OBX
        )
        (person,) = of("Practitioner", made)
        assert [number["value"] for number in person["identifier"]] == ["77", "1999999999"]
        assert of("ServiceRequest", made)[0]["requester"] == {"reference": f"Practitioner/{person['id']}"}
        assert of("Provenance", made) == []

    def test_another_person_is_an_author_beside_the_requester(self, head: str) -> None:
        made = convert(head, PID, segment("ORC", f1="NW", f12="88^Birch^Cyd"), obr(f16="77^Ash^Bea~99^Fir^Eve"), OBX)
        people = {person["id"]: person["name"][0]["family"] for person in of("Practitioner", made)}
        requester = of("ServiceRequest", made)[0]["requester"]["reference"]
        (history,) = of("Provenance", made)
        authors = [agent["who"]["reference"] for agent in history["agent"]]
        assert people[requester.partition("/")[2]] == "Ash"
        assert [people[author.partition("/")[2]] for author in authors] == ["Fir", "Birch"]

    def test_a_second_facility_is_kept(self, head: str) -> None:
        made = convert(head, PID, segment("ORC", f1="NW", f21="Oak Clinic^^1~Oak Clinic^^2~Elm Ward^^3"), obr(), OBX)
        known = {place["name"]: [one["value"] for one in place["identifier"]] for place in of("Organization", made)}
        assert known == {"Oak Clinic": ["1", "2"], "Elm Ward": ["3"]}
        assert "Organization/" in json.dumps(of("Provenance", made)[0]["agent"])

    def test_where_a_facility_is_reached_is_kept_without_its_name(self, head: str) -> None:
        made = convert(
            head, PID, segment("ORC", f1="NW", f14="5550100", f22="1 Elm St^^Lee", f23="5550101"), obr(), OBX
        )
        (request,) = of("ServiceRequest", made)
        kept = [(found["url"].rpartition("/")[2], found["valueString"]) for found in request["extension"]]
        assert kept == [
            ("v2-facility-contact", "1 Elm St Lee"), ("v2-facility-contact", "5550101"), ("v2-call-back", "5550100"),
        ]  # fmt: skip

    def test_a_facility_is_called_back_where_nobody_is_named(self, head: str) -> None:
        made = convert(head, PID, segment("ORC", f1="NW", f14="5550100", f21="Oak Clinic"), obr(), OBX)
        assert of("Organization", made)[0]["telecom"][0]["value"] == "5550100"

    def test_an_organization_has_no_home(self, head: str) -> None:
        """FHIR R4, invariants org-2 and org-3."""
        made = convert(
            head,
            PID,
            segment("ORC", f1="NW", f21="Oak", f22="1 Elm St^^Lee^^^^H", f23="^PRN^PH^^1^555^0100"),
            obr(),
            OBX,
        )
        (place,) = of("Organization", made)
        assert place["telecom"] and "use" not in place["telecom"][0]
        assert place["address"] and "use" not in place["address"][0]

    def test_reasons_stay_with_the_request(self, head: str) -> None:
        made = convert(head, PID, obr(f31="R51^Headache^I10~R11^Nausea^I10"), OBX)
        codes = [reason["coding"][0]["code"] for reason in of("ServiceRequest", made)[0]["reasonCode"]]
        assert codes == ["R51", "R11"]

    def test_who_gets_a_copy_is_referred_to(self, head: str) -> None:
        made = convert(head, PID, obr(f28="88^Birch^Cyd"), OBX)
        (person,) = of("Practitioner", made)
        (kept,) = of("ServiceRequest", made)[0]["extension"]
        assert kept["url"].endswith("/v2-copy-to")
        assert kept["valueReference"] == {"reference": f"Practitioner/{person['id']}"}


def test_two_specimens_of_one_number_and_two_types_are_two() -> None:
    first, same = "SPM|1|S1^EHR||BLD^Blood^HL70487", "SPM|2|S1^EHR||BLD^Blood^HL70487"
    other = "SPM|2|S1^EHR||UR^Urine^HL70487"
    (alone,) = of("Specimen", convert(HEAD, PID, OBR, OBX, first, same))
    blood, urine = of("Specimen", convert(HEAD, PID, OBR, OBX, first, other))
    assert blood["id"] == alone["id"] != urine["id"]
    assert urine["type"]["text"] == "Urine"


def test_what_only_the_second_mention_of_a_specimen_says_joins_it() -> None:
    (found,) = of("Specimen", convert(HEAD, PID, OBR, OBX, "SPM|1|S1^EHR", "SPM|2|S1^EHR||BLD^Blood^HL70487"))
    assert found["type"]["text"] == "Blood"


def test_a_suggested_code_keeps_the_words_beside_it() -> None:
    (found,) = suggested(reading(), "R^Routine^^^Every day", "0007")
    assert found["coding"][0]["system"] and found["extension"][0]["valueString"] == "Every day"


def test_words_without_a_code_stay_beside_the_original_text() -> None:
    found = concept(reading(), "^Yes^^^S01^^^^Fulton County")
    assert found and found["text"] == "Fulton County"
    assert [one["valueString"] for one in found["extension"]] == ["Yes", "S01"]
    assert concept(reading(), "K^Potassium^L^^Kalium")["extension"][0]["valueString"] == "Kalium"  # type: ignore[index]
    assert concept(reading(), "^Yes^^^Yes") == {"text": "Yes"}


def test_the_priority_of_a_timing_behind_a_document_is_the_order_s() -> None:
    made = convert(
        HEAD.replace("ORU^R01", "OUL^R22"), PID, OBR, "TXA|1|DI|||||||||||D1", segment("TQ1", f1="1", f9="A")
    )
    assert of("ServiceRequest", made)[0]["priority"] == "asap"


def test_an_organization_with_a_part_in_a_visit_has_it_as_a_role() -> None:
    """FHIR R4: Encounter.participant.individual is no Organization."""
    made = convert(HEAD, PID, "PV1|1|O|||||||||||||||||V1", segment("PRT", f1="1", f2="AD", f4="AD", f8="Oak Clinic"))
    (role,) = of("PractitionerRole", made)
    assert of("Encounter", made)[0]["participant"][0]["individual"] == {"reference": f"PractitionerRole/{role['id']}"}
    assert role["organization"]["reference"].startswith("Organization/")


def test_a_congregation_without_a_name_is_its_number() -> None:
    for field, shown in (("^^^^^^^^^C9", ["C9"]), ("^D", [])):
        made = convert(HEAD.replace("ORU^R01", "ADT^A01"), PID, segment("PD1", f14=field))
        values = [
            one["valueString"] for one in of("Patient", made)[0].get("extension", []) if "congregation" in one["url"]
        ]
        assert values == shown


@pytest.mark.parametrize("end", ["ADT^not a uuid^UUID", "^ADT^GUID"])
def test_an_end_that_is_no_address_says_so(end: str) -> None:
    made = convert(rf"MSH|^~\&|{end}|LAB|||20260105083000||ADT^A01|1|P|2.5.1")
    source = of("MessageHeader", made)[0]["source"]
    assert source["name"] == "ADT" and "endpoint" not in source
    assert source["_endpoint"]["extension"][0]["valueCode"] == "unknown"


def test_what_is_no_uuid_is_no_uuid() -> None:
    assert reading().dialect.authority("A", "not a uuid", "UUID") == "urn:interlock:authority:UUID:not%20a%20uuid"
    known = "dcb587e4ec7f4fbdbe7846f604c70c47"
    assert reading().dialect.authority("A", known, "UUID") == "urn:uuid:dcb587e4-ec7f-4fbd-be78-46f604c70c47"


def test_a_county_is_the_first_part_that_says_something() -> None:
    (found,) = addresses(reading(), "1 Elm St^^Lee&Town^IA^^^^^&W")
    assert found["district"] == "W" and found["city"] == "Lee"
    (found,) = addresses(reading(), r"1 Elm St^^Lee \T\ Town")
    assert found["city"] == "Lee & Town"


def test_a_note_without_patient_stays_with_the_header() -> None:
    made = convert(HEAD.replace("ORU^R01", "ADT^A01"), "NTE|1||Closed on Monday")
    assert "Closed on Monday" in text_of(of("MessageHeader", made) and made)
    assert [found.code for found in made.findings if found.code == "nothing_but_header"]


def test_additives_and_time_of_receipt_stay_with_the_specimen() -> None:
    (specimen,) = of("Specimen", convert(HEAD, PID, obr(f14="20260105080000", f15="BLD^EDTA"), OBX))
    assert "EDTA" in json.dumps(specimen["container"])
    (specimen,) = of("Specimen", convert(HEAD, PID, obr(f14="20260105080000"), OBX, "SPM|1|S1^EHR||BLD"))
    assert specimen["receivedTime"].startswith("2026-01-05T08:00:00")


def test_a_specimen_without_an_order_is_the_patient_s() -> None:
    made = convert(HEAD, PID, OBX, "SPM|1|S1^EHR||BLD^Blood^HL70487", "SPM|2|S2^EHR||UR^Urine^HL70487")
    assert [found["type"]["text"] for found in of("Specimen", made)] == ["Blood", "Urine"]
    assert len(of("Specimen", convert(HEAD, PID, "SPM|1|S1^EHR||BLD^Blood^HL70487"))) == 1
    assert len(of("Specimen", convert(HEAD.replace("ORU^R01", "OUL^R22"), PID, "SPM|1|S1^EHR||BLD", OBR, OBX))) == 1
