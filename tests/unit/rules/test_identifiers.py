"""CX, EI and HD: the authority makes the system; two numbers of two authorities stay two."""

from __future__ import annotations

from typing import Any

import pytest
from fhir_rules import walk
from result_messages import HEAD, of

from engine.ports import Conversion
from tests.unit.rules.segments import bundle, findings, good, message, obr, obx, only, segment

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
OWN = "urn:interlock:authority:lab"


def patient(**fields: str) -> dict[str, Any]:
    return only("Patient", good(HEAD, segment("PID", **fields), obr()))


def identifiers(raw: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = patient(n3=raw)["identifier"]
    return found


AUTHORITIES = [
    ("A&2.999.1&ISO", "urn:oid:2.999.1"),
    ("&2.999.1&ISO", "urn:oid:2.999.1"),
    ("A&2F0A0E5C-0000-4000-8000-000000000000&UUID", "urn:uuid:2f0a0e5c-0000-4000-8000-000000000000"),
    ("A&lab.example&DNS", "lab.example"),
    ("A&https://a.example/ids&URI", "https://a.example/ids"),
    ("INTERLOCK-TEST", "https://interlock.example/authority/test"),
    ("HOSP", f"{OWN}:HOSP"),
    ("Own ns", f"{OWN}:Own%20ns"),
    ("", OWN),
    ("A&no oid&ISO", f"{OWN}:A%26no%20oid"),
    ("&2.16.840.1.113883.4.1&ISO", "http://hl7.org/fhir/sid/us-ssn"),
    ("&2.16.840.1.113883.4.6&ISO", "http://hl7.org/fhir/sid/us-npi"),
    ("&2.16.840.1.113883.4.7&ISO", "urn:oid:2.16.840.1.113883.4.7"),
]


@pytest.mark.parametrize(("hd", "system"), AUTHORITIES)
def test_the_authority_of_a_patient_number_is_its_system(hd: str, system: str) -> None:
    assert identifiers(f"1^^^{hd}^MR")[0]["system"] == system


@pytest.mark.parametrize(("hd", "system"), AUTHORITIES)
def test_the_authority_of_an_order_number_is_its_system(hd: str, system: str) -> None:
    found = only("DiagnosticReport", message(obr(n2="", n3=f"F1^{hd.replace('&', '^')}")))
    assert found["identifier"][0]["system"] == system


def test_a_namespace_is_looked_up_for_its_sender() -> None:
    """The shipped table has NSL for one laboratory; another sender's NSL is its own."""
    found = {
        sender: only("DiagnosticReport", message(obr(n2="", n3="F1^NSL"), context=Conversion("unit", sender=sender)))
        for sender in ("northside-laboratory", "other")
    }
    systems = {sender: report["identifier"][0]["system"] for sender, report in found.items()}
    assert systems["northside-laboratory"] == "https://northside.example/authority/orders"
    assert systems["other"] == "urn:interlock:authority:other:NSL"


@pytest.mark.parametrize("pid3", ["1^^^^MR", "1^^^HOSP^MR", "1^^^MR", "1", "1^^^HOSP^PI~2^^^HOSP^SS~3^^^^DL"])
def test_neither_a_type_nor_a_bare_namespace_is_a_system(pid3: str) -> None:
    for found in identifiers(pid3):
        assert ":" in found["system"]


@pytest.mark.parametrize("kind", ["MR", "PI", "AN", "DL", "PPN"])
def test_the_type_of_a_number_is_cx_5(kind: str) -> None:
    assert identifiers(f"1^^^A^{kind}")[0]["type"] == {"coding": [{"system": V2_0203, "code": kind}]}


def test_one_number_of_two_authorities_is_two_identifiers_and_two_patients() -> None:
    assert len({found["system"] for found in identifiers("1^^^A^MR~1^^^B^MR")}) == 2
    assert patient(n3="1^^^A^MR")["id"] != patient(n3="1^^^B^MR")["id"]


def test_one_number_that_is_there_twice_is_one_identifier() -> None:
    assert [found["value"] for found in identifiers("1^^^A^MR~1^^^A^MR~2^^^A^PI")] == ["1", "2"]


def test_a_check_digit_and_its_scheme_are_no_part_of_a_number() -> None:
    assert identifiers("10^7^M11^A^MR")[0]["value"] == "10"


def test_the_old_fields_of_patient_numbers_are_kept() -> None:
    found = patient(n2="2^^^A", n3="3^^^A^MR", n4="4^^^B", n18="18^^^A", n19="123-45-6789", n20="20^MN")
    values = {one["value"]: one for one in found["identifier"]}
    assert values.keys() == {"2", "3", "4", "18", "123-45-6789", "20"}
    assert values["123-45-6789"]["system"] == "http://hl7.org/fhir/sid/us-ssn"
    assert [values[n]["type"]["coding"][0]["code"] for n in ("18", "123-45-6789", "20")] == ["AN", "SS", "DL"]


def placer_and_filler(found: dict[str, Any]) -> list[tuple[str, str]]:
    every = [(one["type"]["coding"][0], one["value"]) for one in found["identifier"]]
    assert all(coding["system"] == V2_0203 for coding, _ in every)
    return [(coding["code"], value) for coding, value in every]


@pytest.mark.parametrize("kind", ["DiagnosticReport", "ServiceRequest"])
@pytest.mark.parametrize(
    ("orc", "fields"),
    [
        ("ORC|RE", {}), ("ORC|RE|P1^LEE|F1^LAB", {"n2": "", "n3": ""}), ("ORC|RE|P9^LEE|F9^LAB", {}),
        ("ORC|RE|P1^LEE", {"n2": ""}),
    ],
)  # fmt: skip
def test_report_and_request_have_the_placer_s_and_the_filler_s_number(
    kind: str, orc: str, fields: dict[str, str]
) -> None:
    assert placer_and_filler(only(kind, message(orc, obr(**fields)))) == [("PLAC", "P1"), ("FILL", "F1")]


def test_the_report_is_based_on_the_request_with_the_placer_s_number() -> None:
    made = message(obr(), obr(n2="P2^LEE", n3="F2^LAB", n4="CBC^Blood count^L"))
    requests = {f"ServiceRequest/{one['id']}": placer_and_filler(one)[0] for one in of("ServiceRequest", made)}
    based_on = [requests[one["basedOn"][0]["reference"]] for one in of("DiagnosticReport", made)]
    assert based_on == [("PLAC", "P1"), ("PLAC", "P2")]


def test_an_accession_number_is_none_of_the_order_unless_a_site_says_so() -> None:
    """OBR-20 is free; SPM-30 is the specimen's."""
    made = message(obr(n20="ACC20"), segment("SPM", n2="S1", n30="ACC30^^^LAB"))
    for kind in ("DiagnosticReport", "ServiceRequest"):
        assert {one["value"] for one in only(kind, made)["identifier"]} == {"P1", "F1"}
    assert only("Specimen", made)["accessionIdentifier"] == {"system": f"{OWN}:LAB", "value": "ACC30"}


@pytest.mark.parametrize(
    "xcn", ["1234567890^Lee^Hannah^^^^^^&2.16.840.1.113883.4.6&ISO", "1234567890^Lee^Hannah^^^^^^^^^^NPI"]
)
def test_a_national_provider_number_is_one_of_the_us_register(xcn: str) -> None:
    found = only("Practitioner", message(obr(n16=xcn)))
    assert found["identifier"][0]["system"] == "http://hl7.org/fhir/sid/us-npi"


@pytest.mark.parametrize(
    "fields", [{"n15": "05D0000000^Lab^CLIA"}, {"n23": "Lab^L^^^^CLIA&2.16.840.1.113883.4.7&ISO^XX^^^05D0000000"}]
)
def test_a_clia_number_is_one_of_the_clia_register(fields: dict[str, str]) -> None:
    found = only("Organization", message(obr(), obx(**fields)))
    assert found["identifier"][0]["system"] == "urn:oid:2.16.840.1.113883.4.7"
    assert found["identifier"][0]["value"] == "05D0000000"


# code systems


CODE_SYSTEMS = [
    ("LN", "http://loinc.org"), ("SCT", "http://snomed.info/sct"), ("SNM", "http://snomed.info/sct"),
    ("SNOMED", "http://snomed.info/sct"), ("UCUM", "http://unitsofmeasure.org"),
    ("I9C", "http://hl7.org/fhir/sid/icd-9-cm"), ("I9CDX", "http://hl7.org/fhir/sid/icd-9-cm"),
    ("I10", "http://hl7.org/fhir/sid/icd-10"), ("I10C", "http://hl7.org/fhir/sid/icd-10-cm"),
    ("C4", "http://www.ama-assn.org/go/cpt"), ("RXN", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    ("RxNorm", "http://www.nlm.nih.gov/research/umls/rxnorm"), ("NDC", "http://hl7.org/fhir/sid/ndc"),
    ("CVX", "http://hl7.org/fhir/sid/cvx"), ("HL70136", "http://terminology.hl7.org/CodeSystem/v2-0136"),
    ("HL70078", "http://terminology.hl7.org/CodeSystem/v2-0078"), ("2.16.840.1.113883.6.1", "http://loinc.org"),
    ("2.999.7", "urn:oid:2.999.7"), ("https://codes.example/x", "https://codes.example/x"),
    ("L", "urn:interlock:codesystem:lab:L"), ("99NSL", "urn:interlock:codesystem:lab:99NSL"),
    ("HL7", "urn:interlock:codesystem:lab:HL7"), ("My codes", "urn:interlock:codesystem:lab:My%20codes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "uri"), CODE_SYSTEMS)
def test_a_code_system_of_table_0396_is_its_uri_and_a_local_one_the_sender_s(name: str, uri: str) -> None:
    found = only("Observation", message(obr(), obx(n2="CWE", n3=f"T^Test^{name}", n5=f"A^Alpha^{name}")))
    assert found["valueCodeableConcept"]["coding"][0]["system"] == uri
    assert found["code"]["coding"][0]["system"] == uri


def test_one_local_system_of_two_senders_is_two() -> None:
    found = {
        only("Observation", message(obr(), obx(), context=Conversion("unit", sender=sender)))["code"]["coding"][0][
            "system"
        ]
        for sender in ("lab", "other")
    }
    assert found == {"urn:interlock:codesystem:lab:L", "urn:interlock:codesystem:other:L"}


def test_every_system_of_a_bundle_is_a_uri_and_none_the_name_in_the_message() -> None:
    results = [obx(n2="CWE", n3=f"T{n}^Test^{name}", n5=f"A^Alpha^{name}") for n, (name, _) in enumerate(CODE_SYSTEMS)]
    made = message(obr(n16="7^Lee^Hannah^^^^^^LEE"), *results)
    systems = {str(one["system"]) for one in walk(bundle(made)) if "system" in one}
    assert len(systems) > 15 and all(":" in system for system in systems)
    assert findings(made) == []
