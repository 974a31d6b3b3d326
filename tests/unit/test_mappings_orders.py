"""Orders, reports, specimens, people and patients: what is derived, what is kept, what is never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from result_messages import CONTEXT, HEAD, OBR, PID, TABLES, convert, obx, of, resources

from engine.errors import Held
from engine.formats.hl7v2 import read
from mappings.hl7v2_fhir import notice, transaction


def obr(status: str = "", filler: str = "F1^LAB", **fields: str) -> str:
    """An OBR with fields by number: n16=..."""
    row = ["OBR", "1", "P1", filler, "BMP^Panel^L", *[""] * 50]
    row[25] = status
    for name, value in fields.items():
        row[int(name[1:])] = value
    return "|".join(row).rstrip("|")


def report(*segments: str) -> tuple[dict[str, Any], list[str]]:
    made = convert(HEAD, PID, *segments)
    return of("DiagnosticReport", made)[0], [f"{found.code} {found.where}" for found in made.findings]


@pytest.mark.parametrize(
    ("said", "status"),
    [("O", "registered"), ("I", "registered"), ("S", "registered"), ("A", "partial"), ("P", "preliminary"),
     ("R", "partial"), ("C", "corrected"), ("F", "final"), ("X", "cancelled")],
)  # fmt: skip
def test_report_status(said: str, status: str) -> None:
    found, findings = report(obr(said), obx())
    assert found["status"] == status and not findings


@pytest.mark.parametrize("said", ["Y", "Z", "N", "M", "final"])
def test_an_unknown_report_status_is_unknown_and_kept(said: str) -> None:
    found, findings = report(obr(said), obx())
    assert found["status"] == "unknown" and findings == ["status_unknown OBR[1]-25"]
    assert found["_status"]["extension"][0]["valueCodeableConcept"] == {"text": said}


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ("FF", "final"),
        ("FC", "corrected"),
        ("FP", "preliminary"),
        ("FI", "partial"),
        ("II", "registered"),
        ("XX", "cancelled"),
    ],
)
def test_a_report_without_status_is_as_far_as_its_results(results: str, status: str) -> None:
    assert report(obr(), *(obx(status=said) for said in results))[0]["status"] == status


def test_a_report_without_status_and_results_is_unknown() -> None:
    assert report(obr())[1] == ["status_missing OBR[1]-25"]


def test_a_final_report_with_open_results_is_reported() -> None:
    found, findings = report(obr("F"), obx(status="P"))
    assert found["status"] == "final" and findings == ["status_better_than_results OBR[1]-25"]


@pytest.mark.parametrize(
    ("orc", "status"),
    [
        ("ORC|NW||||CM", "completed"), ("ORC|NW||||CA", "revoked"), ("ORC|NW||||HD", "on-hold"),
        ("ORC|NW||||IP", "active"),
        ("ORC|NW||||ER", "entered-in-error"), ("ORC|NW", "active"), ("ORC|CA", "active"), ("ORC|CR", "revoked"),
        ("ORC|OH", "on-hold"), ("ORC|FU", "completed"), ("ORC|RE", "completed"), ("ORC|XO", "completed"),
    ],
)  # fmt: skip
def test_order_status(orc: str, status: str) -> None:
    made = convert(HEAD, PID, orc, obr("F"), obx())
    assert of("ServiceRequest", made)[0]["status"] == status


def test_an_order_whose_report_is_not_final_is_not_completed() -> None:
    assert of("ServiceRequest", convert(HEAD, PID, "ORC|RE", obr("P"), obx()))[0]["status"] == "unknown"


def test_an_unknown_order_status_is_kept() -> None:
    made = convert(HEAD, PID, "ORC|RE||||ZZ", obr("F"), obx())
    (found,) = of("ServiceRequest", made)
    assert found["status"] == "unknown" and found["_status"]
    assert [finding.code for finding in made.findings] == ["status_unknown"]


def test_numbers_come_from_obr_else_orc() -> None:
    made = convert(HEAD, PID, "ORC|RE|PX^LEE|FX^LAB", "OBR|1|||X", obx())
    assert [(n["type"]["coding"][0]["code"], n["value"]) for n in of("DiagnosticReport", made)[0]["identifier"]] == [
        ("PLAC", "PX"),
        ("FILL", "FX"),
    ]


def test_several_orders_under_one_orc_have_a_report_each() -> None:
    made = convert(HEAD, PID, "ORC|RE|P|F", "OBR|1||F|A^A^L", obx(), "OBR|2||F|B^B^L", obx(), "OBR|3||F|B^B^L")
    assert len({found["id"] for found in of("DiagnosticReport", made)}) == 3
    assert len({found["id"] for found in of("Observation", made)}) == 2


def test_a_reflex_order() -> None:
    assert of("ServiceRequest", convert(HEAD, PID, obr("F", n11="G"), obx()))[0]["intent"] == "reflex-order"


def test_notes_belong_to_the_segment_before_them() -> None:
    made = convert(
        HEAD, PID, "NTE|1||of the patient", "PV1|1|N", "NTE|1||of no visit", "ORC|RE", "NTE|1||of the order",
        obr("F"), "NTE|1||of the report", "ZZZ|x", "NTE|1||still of it", obx(), "NTE|1||of the result",
        "SPM|1|S", "NTE|1||of the specimen", "ORC|RE", "NTE|1||of an order that never came",
    )  # fmt: skip
    (patient,) = of("Patient", made)
    assert [e["valueAnnotation"]["text"] for e in patient["extension"]] == [
        "of the patient\nof no visit\nof an order that never came"
    ]
    assert [n["text"] for n in of("ServiceRequest", made)[0]["note"]] == [
        "of the order",
        "of the report",
        "still of it",
    ]
    assert [n["text"] for n in of("Observation", made)[0]["note"]] == ["of the result"]
    assert [n["text"] for n in of("Specimen", made)[0]["note"]] == ["of the specimen"]


def test_results_after_a_specimen_are_the_specimens() -> None:
    made = convert(HEAD, PID, obr("F"), obx(), "SPM|1|S1", obx("ST", "turbid"), "SPM|2|S2", obx("ST", "clear"))
    specimens = [found["id"] for found in of("Specimen", made)]
    found = of("Observation", made)
    assert "specimen" not in found[0]
    assert [o["specimen"]["reference"] for o in found[1:]] == [f"Specimen/{key}" for key in specimens]
    assert len(of("DiagnosticReport", made)[0]["result"]) == 3


def test_results_before_any_order_are_the_patients() -> None:
    made = convert(HEAD, PID, obx(), obr("F"), obx())
    assert len(of("Observation", made)) == 2
    assert len(of("DiagnosticReport", made)[0]["result"]) == 1


def test_the_old_specimen_source() -> None:
    made = convert(HEAD, PID, obr("F", n15="BLD&Blood&HL70070^^clotted^LA&Left arm"), obx())
    (found,) = of("Specimen", made)
    assert found["type"]["coding"][0]["system"].endswith("v2-0070")
    assert of("Observation", made)[0]["specimen"] == {"reference": f"Specimen/{found['id']}"}


@pytest.mark.parametrize(
    ("pid3", "system"),
    [
        ("1^^^A&2.999.1&ISO^MR", "urn:oid:2.999.1"),
        ("1^^^A&2F0A0E5C-0000-4000-8000-000000000000&UUID", "urn:uuid:2f0a0e5c-0000-4000-8000-000000000000"),
        ("1^^^A&lab.example&DNS^MR", "lab.example"),
        ("1^^^A&https://a.example&URI^MR", "https://a.example"),
        ("1^^^INTERLOCK-TEST^MR", "https://interlock.example/authority/test"),
        ("1^^^Own ns^MR", "urn:interlock:authority:lab:Own%20ns"),
        ("1^^^^MR", "urn:interlock:authority:lab"),
        ("1^^^A&12&CLIA^MR", "urn:interlock:authority:CLIA:12"),
        ("1^^^A&not an oid&ISO^MR", "urn:interlock:authority:lab:A%26not%20an%20oid"),
        ("1^^^&2.16.840.1.113883.4.1&ISO^SS", "http://hl7.org/fhir/sid/us-ssn"),
        ("1^^^^SS", "http://hl7.org/fhir/sid/us-ssn"),
    ],
)
def test_the_authority_gives_the_system(pid3: str, system: str) -> None:
    assert of("Patient", convert(HEAD, f"PID|1||{pid3}", OBR))[0]["identifier"][0]["system"] == system


def test_a_check_digit_is_no_part_of_the_number() -> None:
    assert of("Patient", convert(HEAD, "PID|1||10^7^M11^A^MR", OBR))[0]["identifier"][0]["value"] == "10"


def test_two_authorities_are_two_patients() -> None:
    ids = {of("Patient", convert(HEAD, f"PID|1||1^^^{a}^MR", OBR))[0]["id"] for a in ("A", "B")}
    assert len(ids) == 2


def test_the_order_of_identifiers_does_not_change_the_patient() -> None:
    one, two = "1^^^A^MR~2^^^B^PI", "2^^^B^PI~1^^^A^MR"
    ids = {of("Patient", convert(HEAD, f"PID|1||{pid}", OBR))[0]["id"] for pid in (one, two)}
    assert len(ids) == 1


def test_a_patient_without_identifier_is_reported_and_not_joined_by_name() -> None:
    made = [convert(HEAD, "PID|1||||Doe^Jo", obr("F", filler)) for filler in ("F1", "F2")]
    assert "patient_without_identifier" in [found.code for found in made[0].findings]
    assert len({of("Patient", one)[0]["id"] for one in made}) == 2


@pytest.mark.parametrize(
    ("said", "gender"),
    [("F", "female"), ("M", "male"), ("A", "other"), ("N", "other"), ("U", "unknown"), ("Q", "unknown")],
)
def test_sex(said: str, gender: str) -> None:
    made = convert(HEAD, PID + f"|||{said}", OBR)
    assert of("Patient", made)[0]["gender"] == gender
    assert ("sex_unknown" in [found.code for found in made.findings]) == (said == "Q")


def test_a_null_is_no_value() -> None:
    (found,) = of("Patient", convert(HEAD, 'PID|1||1^^^A^MR||""||""|""|||""||""', OBR))
    assert found.keys() == {"resourceType", "id", "identifier"}


def test_names_addresses_and_telecom() -> None:
    pid = "PID|1||1^^^A^MR||van Dam&van&Dam^Ann^B C^Jr^Dr^PhD^L~Annie^^^^^^N||197103141230|||"
    pid += "|1 Road&Road&1^Flat 2^Duluth^MN^5^USA^H^^Lake~2 Lane^^X^^^^M||"
    pid += "5550100~^NET^Internet^a@b.example|^WPN^CP^^1^218^5550101^9"
    (found,) = of("Patient", convert(HEAD, pid, OBR))
    assert found["name"][0] == {
        "use": "official",
        "family": "van Dam",
        "_family": {
            "extension": [
                {"url": "http://hl7.org/fhir/StructureDefinition/humanname-own-prefix", "valueString": "van"},
                {"url": "http://hl7.org/fhir/StructureDefinition/humanname-own-name", "valueString": "Dam"},
            ]
        },
        "given": ["Ann", "B", "C"],
        "prefix": ["Dr"],
        "suffix": ["Jr", "PhD"],
    }
    assert found["name"][1] == {"use": "nickname", "family": "Annie"}
    assert found["address"][0]["line"] == ["1 Road", "Road", "1", "Flat 2"]
    assert found["address"][0]["district"] == "Lake" and found["address"][1]["type"] == "postal"
    assert found["telecom"] == [
        {"system": "phone", "value": "5550100", "use": "home"},
        {"system": "email", "value": "a@b.example", "use": "home"},
        {"system": "phone", "value": "+1 (218) 5550101 x9", "use": "mobile"},
    ]
    assert found["birthDate"] == "1971-03-14"
    assert found["_birthDate"]["extension"][0]["valueDateTime"] == "1971-03-14T12:30:00-06:00"


@pytest.mark.parametrize(
    ("pv1", "status", "code"),
    [
        ("PV1|1|I", "in-progress", "IMP"), ("PV1|1|E", "in-progress", "EMER"), ("PV1|1|P", "planned", "PRENC"),
        ("PV1|1|O" + "|" * 43 + "20260106", "finished", "AMB"), ("PV1|1|R", "in-progress", "R"),
        ("PV1|1|U" + "|" * 17 + "V1", "unknown", "U"),
    ],
)  # fmt: skip
def test_encounter(pv1: str, status: str, code: str) -> None:
    (found,) = of("Encounter", convert(HEAD, PID, pv1, OBR))
    assert (found["status"], found["class"]["code"]) == (status, code)


@pytest.mark.parametrize("pv1", ["PV1|1|N", "PV1|1", "PV1|1|U", "PV1|1|HOSPITAL"])
def test_a_visit_that_is_none_is_no_encounter(pv1: str) -> None:
    made = convert(HEAD, PID, pv1, OBR, obx())
    assert not of("Encounter", made)
    assert "encounter" not in of("Observation", made)[0]


def test_one_person_with_several_numbers_is_one_practitioner() -> None:
    npi = "1234567890^Lee^Hannah^^^^^^&2.16.840.1.113883.4.6&ISO^^^^NPI"
    made = convert(HEAD, PID, "PV1|1|O|||||" + npi, obr("F", n16=npi + "~77^Lee^Hannah^^^^^^LEE"), obx())
    (found,) = of("Practitioner", made)
    assert [number["system"] for number in found["identifier"]] == [
        "http://hl7.org/fhir/sid/us-npi",
        "urn:interlock:authority:lab:LEE",
    ]


def test_a_person_without_number_is_only_shown() -> None:
    made = convert(HEAD, PID, obr("F", n16="^Lee^Hannah"), obx())
    assert of("ServiceRequest", made)[0]["requester"] == {"display": "Hannah Lee"}
    assert not of("Practitioner", made)


def test_parent_and_child() -> None:
    organism = "OBX|1|CE|ORG^Organism^L|1|1^E. coli^L||||||F"
    child = "|".join(
        ["OBR", "2", "P2", "F2^LAB", "SUSC", *[""] * 20, "F", "ORG&Organism&L^1^E. coli", "", "", "P1&LEE^F1&LAB"]
    )
    made = convert(HEAD, PID, OBR, organism, child, "OBX|2|SN|AMP^Ampicillin^L|1|>^16||||||F")
    parent, susceptibility = of("Observation", made)
    assert parent["hasMember"] == [{"reference": f"Observation/{susceptibility['id']}"}]
    assert susceptibility["derivedFrom"] == [{"reference": f"Observation/{parent['id']}"}]
    first, second = of("ServiceRequest", made)
    assert second["basedOn"] == [{"reference": f"ServiceRequest/{first['id']}"}]


def test_a_parent_that_is_not_there_keeps_its_numbers() -> None:
    made = convert(HEAD, PID, obr("F", n29="P9&LEE^F9&LAB"), obx())
    assert [parent["identifier"]["value"] for parent in of("ServiceRequest", made)[0]["basedOn"]] == ["F9", "P9"]
    assert [finding.code for finding in made.findings] == ["parent_not_found"]


def test_a_correction_updates_what_the_first_message_wrote() -> None:
    first = convert(HEAD, PID, obr("F"), obx(value="4.1"))
    again = convert(HEAD.replace("|1|P|", "|2|P|"), PID, obr("C"), "NTE|1||x", obx("ST", "hemolyzed", status="W"))
    for kind in ("Patient", "ServiceRequest", "DiagnosticReport", "Observation"):
        assert [found["id"] for found in of(kind, first)] == [found["id"] for found in of(kind, again)]
    assert of("Observation", again)[0]["status"] == "entered-in-error"


def test_the_id_of_a_result_stays_when_its_code_is_mapped() -> None:
    local, mapped = "OBX|1|NM|K^Kalium^NSL||4||||||F", "OBX|1|NM|2823-3^Potassium^LN^K^Kalium^NSL||4||||||F"
    assert len({of("Observation", convert(HEAD, PID, OBR, segment))[0]["id"] for segment in (local, mapped)}) == 1


@pytest.mark.parametrize("change", [("K^", "NA^"), ("^L||4", "^L|2|4"), ("^L||4", "^M||4")])
def test_another_test_sub_id_or_system_is_another_result(change: tuple[str, str]) -> None:
    one = "OBX|1|NM|K^Potassium^L||4||||||F"
    ids = {of("Observation", convert(HEAD, PID, OBR, s))[0]["id"] for s in (one, one.replace(*change))}
    assert len(ids) == 2


def test_repeated_results_of_one_test_are_told_apart() -> None:
    assert len({found["id"] for found in of("Observation", convert(HEAD, PID, OBR, obx(), obx()))}) == 2


def test_final_without_retransmission_changes_the_status_only() -> None:
    stored = of("Observation", convert(HEAD, PID, OBR, obx(status="P")))[0]["id"]
    made = convert(HEAD, PID, OBR, obx(value="", status="U"))
    (patch,) = of("Binary", made)
    assert patch["contentType"] == "application/json-patch+json"
    assert f'"PATCH","url":"Observation/{stored}"'.encode() in made.payload
    assert of("DiagnosticReport", made)[0]["result"] == [{"reference": f"Observation/{stored}"}]


def test_documents_go_to_the_report() -> None:
    pdf = obx("ED", "L^application^pdf^Base64^JVBERi0xLjQK")
    link = obx("RP", "https://a.example/1^L^image^jpeg")
    bad = obx("ED", "L^application^pdf^Base64^not base64")
    hexed = obx("ED", "L^TEXT^plain^Hex^48690A")
    made = convert(HEAD, PID, obr("F"), pdf, link, bad, hexed)
    forms = of("DiagnosticReport", made)[0]["presentedForm"]
    assert [form.get("contentType") for form in forms] == ["application/pdf", "image/jpeg", "text/plain", "text/plain"]
    assert (
        forms[0]["data"] == "JVBERi0xLjQK" and forms[1]["url"] == "https://a.example/1" and forms[3]["data"] == "SGkK"
    )
    assert [f"{found.code} {found.where}" for found in made.findings] == ["attachment_invalid OBX[3]-5"]
    assert len(of("Observation", made)) == 4


@pytest.mark.parametrize(("said", "tagged"), [("P", False), ("T", True), ("D", True), ("", False)])
def test_test_data_is_tagged_everywhere(said: str, tagged: bool) -> None:
    made = convert(HEAD.replace("|1|P|", f"|1|{said}|"), PID, OBR, obx())
    assert all(("meta" in found) == tagged for found in resources(made))


@pytest.mark.parametrize("kind", ["QBP^Q11", "", "XYZ"])
def test_other_messages_are_held(kind: str) -> None:
    message = read(HEAD.replace("ORU^R01", kind).encode() + b"\r" + PID.encode())
    for convert_it in (transaction, notice):
        with pytest.raises(Held) as raised:
            convert_it(message, TABLES, CONTEXT)
        assert raised.value.code == "not_convertible"
        assert "ORU" in raised.value.advice


def test_a_header_alone_says_so() -> None:
    made = convert(HEAD)
    assert [found["resourceType"] for found in resources(made)] == ["MessageHeader"]
    assert [found.code for found in made.findings] == ["nothing_but_header"]


def test_delimiters_of_the_message_are_used() -> None:
    made = convert(
        "MSH$*!?%$LIS$LAB$EHR$LEE$20260105$$ORU*R01$1$P$2.5.1",
        "PID$1$$1***A%2.999.1%ISO*MR",
        "OBR$1$$F",
        "OBX$1$ST$K*K*L$$a!b$$$$$$F",
    )
    assert of("Patient", made)[0]["identifier"][0]["system"] == "urn:oid:2.999.1"
    assert of("Observation", made)[0]["valueString"] == "a\nb"


def test_a_message_with_few_delimiters_is_read() -> None:
    made = convert(
        "MSH|^|LIS|LAB|EHR|LEE|20260105||ORU^R01|1|P|2.5.1",
        "PID|1||1^^^A^MR",
        "OBR|1||F",
        "OBX|1|NM|K^K^L||4~5\\&||||||F",
    )
    assert of("Observation", made)[0]["valueString"] == "4~5\\&"


def test_findings_and_errors_hold_no_value() -> None:
    made = convert(HEAD, PID, OBR, obx(value="SECRET"), "OBX|2|DT|K||SECRET||||||F")
    assert made.findings and all("SECRET" not in found.text + found.where + found.subject for found in made.findings)
