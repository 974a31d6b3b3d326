"""Patient administration: what an event does to a visit, what a merge says, and what nobody may guess."""

from __future__ import annotations

import orjson
import pytest
from fhir_rules import faults

from engine.formats.hl7v2 import read
from engine.model import Converted
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.hl7v2_fhir.vocabulary import Json
from mappings.lookup import CodeTables

TABLES = CodeTables()
PID = "PID|1||4711^^^HOSP^MR||Testmann^Ada"
CLEARED = '""'


def segment(name: str, **fields: str) -> str:
    """A segment with fields by number: n16=..."""
    row = [name, *[""] * 80]
    for number, value in fields.items():
        row[int(number[1:])] = value
    return "|".join(row).rstrip("|")


def pv1(**fields: str) -> str:
    return segment("PV1", **{"n2": "I", "n19": "V-1^^^HOSP^VN", **fields})


def convert(kind: str, *segments: str) -> Converted:
    head = f"MSH|^~\\&|ADT|HOSP|||20260105101500-0600||{kind}|1|P|2.5.1"
    message = read("\r".join((head, "EVN||20260105", *segments, "")).encode())
    made = transaction(message, TABLES, Conversion("test", sender="test"))
    assert faults(orjson.loads(made.payload)) == []
    return made


def of(kind: str, made: Converted) -> list[Json]:
    entries = orjson.loads(made.payload)["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]


def one(kind: str, made: Converted) -> Json:
    (found,) = of(kind, made)
    return found


def codes(made: Converted) -> list[str]:
    return [f"{found.code} {found.where}" for found in made.findings]


# visits


@pytest.mark.parametrize(
    ("event", "status"),
    [("A01", "in-progress"), ("A02", "in-progress"), ("A03", "finished"), ("A04", "arrived"), ("A05", "planned"),
     ("A06", "in-progress"), ("A07", "in-progress"), ("A08", "in-progress"), ("A09", "in-progress"),
     ("A10", "in-progress"), ("A11", "cancelled"), ("A12", "in-progress"), ("A13", "in-progress"),
     ("A14", "planned"), ("A21", "onleave"), ("A22", "in-progress"), ("A23", "entered-in-error"),
     ("A27", "cancelled"), ("A38", "cancelled"), ("A53", "onleave"), ("A60", "in-progress")],
)  # fmt: skip
def test_the_event_says_the_status(event: str, status: str) -> None:
    assert one("Encounter", convert(f"ADT^{event}", PID, pv1()))["status"] == status


@pytest.mark.parametrize(
    ("event", "status"),
    [("A01", "finished"), ("A08", "finished"), ("A11", "cancelled"), ("A13", "in-progress"),
     ("A23", "entered-in-error")],
)  # fmt: skip
def test_a_discharge_time_counts_unless_the_event_cancels(event: str, status: str) -> None:
    found = one("Encounter", convert(f"ADT^{event}", PID, pv1(n44="20260101", n45="20260104")))
    assert found["status"] == status


def test_a_cancelled_discharge_has_no_end() -> None:
    made = convert("ADT^A13", PID, pv1(n44="20260101", n45="20260104"))
    assert one("Encounter", made)["period"] == {"start": "2026-01-01"}
    assert codes(made) == ["discharge_cancelled PV1-45"]


@pytest.mark.parametrize(
    ("event", "now", "prior"),
    [("A02", "active", "completed"), ("A03", "completed", "completed"), ("A05", "planned", "completed"),
     ("A11", None, "completed"), ("A12", "active", None)],
)  # fmt: skip
def test_places_say_what_they_are_at_that_event(event: str, now: str | None, prior: str | None) -> None:
    places = one("Encounter", convert(f"ADT^{event}", PID, pv1(n3="W1^1", n6="W2^1")))["location"]
    assert [place.get("status") for place in places] == [now, prior]


def test_equal_rooms_of_two_wards_are_two_and_of_one_ward_one() -> None:
    made = convert("ADT^A02", PID, pv1(n3="W1^1^A", n6="W2^1^A", n42="W1^1^B"))
    rooms = [found for found in of("Location", made) if found["name"] == "1"]
    assert len(rooms) == 2 and len({found["partOf"]["reference"] for found in rooms}) == 2


def test_results_show_the_place_and_write_none() -> None:
    made = convert("ORU^R01", PID, pv1(n3="W1^1"), "OBR|1||F1|X^X^L", "OBX|1|ST|Y^Y^L||z||||||F")
    assert one("Encounter", made)["location"] == [{"location": {"display": "W1 1"}}] and not of("Location", made)


@pytest.mark.parametrize(
    ("fields", "made"),
    [({"n2": "N", "n19": ""}, False), ({"n2": "", "n19": ""}, False), ({"n2": "OBS", "n19": ""}, False),
     ({"n2": "OBS", "n19": "", "n3": "W1"}, True), ({"n2": "", "n19": "", "n44": "20260101"}, True),
     ({"n2": "N"}, True)],
)  # fmt: skip
def test_a_visit_is_made_where_something_is_said_of_it(fields: dict[str, str], made: bool) -> None:
    assert bool(of("Encounter", convert("ADT^A08", PID, pv1(**fields)))) is made


def test_a_class_of_the_sender_s_own_is_kept_and_reported() -> None:
    made = convert("ADT^A01", PID, pv1(n2="OBS"))
    assert one("Encounter", made)["class"] == {"code": "OBS"} and codes(made) == ["code_unknown PV1-2"]


def test_a_user_s_own_code_has_no_system_and_a_suggested_one_has() -> None:
    stay = one("Encounter", convert("ADT^A01", PID, pv1(n14="1", n36="HOME")))["hospitalization"]
    assert stay["admitSource"]["coding"][0]["system"].endswith("/v2-0023")
    assert stay["dischargeDisposition"] == {"coding": [{"code": "HOME"}], "text": "HOME"}


# what is deleted


def test_a_null_value_leaves_nothing_behind() -> None:
    nulls = {f"n{number}": CLEARED for number in range(6, 41)}
    made = convert(
        "ADT^A08", segment("PID", **{**nulls, "n3": "4711^^^HOSP^MR", "n5": "Testmann^Ada"}),
        segment("PD1", **{f"n{number}": CLEARED for number in range(1, 24)}),
        segment("NK1", **{f"n{number}": CLEARED for number in range(2, 42)}),
        pv1(**{f"n{number}": CLEARED for number in (*range(3, 19), *range(20, 55))}),
        segment("PV2", **{f"n{number}": CLEARED for number in range(1, 51)}),
        *(segment(name, **{f"n{number}": CLEARED for number in range(2, 20)}) for name in ("AL1", "PR1", "GT1", "IN1")),
    )  # fmt: skip
    assert b'\\"\\"' not in made.payload
    assert one("Patient", made).keys() == {"resourceType", "id", "identifier", "name"}
    assert one("Encounter", made).keys() == {"resourceType", "id", "identifier", "status", "class", "subject"}
    assert dict(made.resources) == {"Patient": 1, "Encounter": 1}


# merges


def linked(patient: Json) -> list[tuple[str, str]]:
    return [(link["type"], link["other"]["reference"].removeprefix("Patient/")) for link in patient.get("link", ())]


@pytest.mark.parametrize("event", ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47"])
def test_the_survivor_replaces_and_the_other_is_replaced(event: str) -> None:
    survivor, prior = of("Patient", convert(f"ADT^{event}", PID, "MRG|4712^^^HOSP^MR||||||Testman^Ida"))
    assert linked(survivor) == [("replaces", prior["id"])] and "active" not in survivor
    assert linked(prior) == [("replaced-by", survivor["id"])] and prior["active"] is False
    assert prior["name"] == [{"family": "Testman", "given": ["Ida"]}]
    assert prior["id"] == one("Patient", convert("ADT^A01", "PID|1||4712^^^HOSP^MR"))["id"]


def test_a_chain_of_merges_ends_in_one_active_record() -> None:
    made = convert("ADT^A40", PID, "MRG|4712^^^HOSP^MR", "PID|2||4713^^^HOSP^MR", "MRG|4711^^^HOSP^MR")
    first, second, last = of("Patient", made)
    assert linked(first) == [("replaces", second["id"]), ("replaced-by", last["id"])]
    assert (first["active"], second["active"], last.get("active")) == (False, False, None)


@pytest.mark.parametrize("mrg", ["MRG|", 'MRG|""', "MRG|||ACC-1"])
def test_a_merge_without_a_record_links_nothing(mrg: str) -> None:
    made = convert("ADT^A40", PID, mrg)
    assert linked(one("Patient", made)) == [] and codes(made) == ["merge_without_identifier MRG-1"]


def test_a_record_is_never_linked_to_itself() -> None:
    made = convert("ADT^A47", PID, "MRG|4711^^^HOSP^MR")
    assert linked(one("Patient", made)) == [] and not made.findings


@pytest.mark.parametrize("event", ["A01", "A43"])
def test_what_has_no_rule_is_reported_and_nobody_is_replaced(event: str) -> None:
    made = convert(f"ADT^{event}", PID, "MRG|4712^^^HOSP^MR")
    assert linked(one("Patient", made)) == [] and codes(made) == ["move_not_converted MRG[1]"]


def test_moved_visits_belong_to_the_patient_and_the_prior_one_is_left_alone() -> None:
    made = convert(
        "ADT^A45", PID, "MRG|4712^^^HOSP^MR||||V-1^^^HOSP^VN", pv1(),
        "MRG|4712^^^HOSP^MR||||V-2^^^HOSP^VN", pv1(n19="V-12^^^HOSP^VN"),
    )  # fmt: skip
    patient = one("Patient", made)
    same, moved, old = of("Encounter", made)
    assert {found["subject"]["reference"] for found in (same, moved)} == {f"Patient/{patient['id']}"}
    assert (same["status"], moved["status"], old["status"]) == ("in-progress", "in-progress", "entered-in-error")
    assert [number["value"] for number in moved["identifier"]] == ["V-12", "V-2"]
    assert moved["identifier"][1]["use"] == "old" and "subject" not in old
    assert old["id"] == one("Encounter", convert("ADT^A01", PID, pv1(n19="V-2^^^HOSP^VN")))["id"]


def test_a_change_of_class_keeps_the_old_number_and_writes_no_old_visit() -> None:
    found = one("Encounter", convert("ADT^A06", PID, "MRG|4711^^^HOSP^MR||||V-9^^^HOSP^VN", pv1()))
    assert [number["value"] for number in found["identifier"]] == ["V-1", "V-9"]


@pytest.mark.parametrize(("event", "status"), [("A44", "unknown"), ("A41", "inactive")])
def test_an_account_moves_or_ends(event: str, status: str) -> None:
    made = convert(f"ADT^{event}", PID, "MRG|4712^^^HOSP^MR||ACC-9^^^HOSP^AN")
    found = one("Account", made)
    assert found["status"] == status and found["subject"] == [{"reference": f"Patient/{one('Patient', made)['id']}"}]


def test_linked_patients_name_each_other_and_a_deleted_one_is_not_active() -> None:
    first, second = of("Patient", convert("ADT^A24", PID, "PID|2||77^^^CLINIC^PI"))
    assert linked(first) == [("seealso", second["id"])] and linked(second) == [("seealso", first["id"])]
    assert one("Patient", convert("ADT^A29", PID))["active"] is False
    assert all("link" not in found for found in of("Patient", convert("ADT^A37", PID, "PID|2||77^^^CLINIC^PI")))


# patients and relatives


@pytest.mark.parametrize(
    ("race", "url"),
    [("2106-3^White^CDCREC", "us-core-race"), ("2106-3~2028-9", "us-core-race"), ("W^White^L", "v2-race"),
     ("2106-3~W^White^L", "v2-race")],
)  # fmt: skip
def test_race_is_us_core_s_where_every_code_is_the_cdc_s(race: str, url: str) -> None:
    extensions = one("Patient", convert("ADT^A01", segment("PID", n3="1", n10=race)))["extension"]
    assert {found["url"].rpartition("/")[2] for found in extensions} == {url}


@pytest.mark.parametrize(("code", "related"), [("SPO", 1), ("", 1), ("EMR", 0), ("E", 0), ("I", 0)])
def test_an_employer_is_a_contact_and_no_related_person(code: str, related: int) -> None:
    made = convert("ADT^A01", PID, segment("NK1", n2="Testmann^Bob", n3=code))
    assert len(of("RelatedPerson", made)) == related and len(one("Patient", made)["contact"]) == 1


def test_a_relative_s_new_telephone_updates_and_another_relative_is_another() -> None:
    first, second, other = (
        one("RelatedPerson", convert("ADT^A08", PID, segment("NK1", n2=name, n3="SPO", n5=number)))["id"]
        for name, number in (("Testmann^Bob", "1"), ("Testmann^Bob", "2"), ("Testmann^Carl", "1"))
    )
    assert first == second != other


def test_a_contact_without_details_is_none() -> None:
    assert "contact" not in one("Patient", convert("ADT^A01", PID, segment("NK1", n3="SPO")))


def test_protected_and_test_patients_each_keep_their_own_meta() -> None:
    head = "MSH|^~\\&|ADT|HOSP|||20260105||ADT^A01|1|T|2.5.1"
    raw = "\r".join((head, PID, segment("PD1", n12="Y"), pv1(), "")).encode()
    made = transaction(read(raw), TABLES, Conversion("test", sender="test"))
    assert one("Patient", made)["meta"].keys() == {"tag", "security"}
    assert one("Encounter", made)["meta"].keys() == {"tag"}


# diagnoses, allergies, insurance, problems


def test_a_deleted_diagnosis_is_entered_in_error_and_leaves_the_visit() -> None:
    kept, deleted = (
        segment("DG1", n3=f"{code}^x^I10C", n6="W", n21=action) for code, action in (("A", "U"), ("B", "D"))
    )
    made = convert("ADT^A08", PID, pv1(), kept, deleted)
    first, second = of("Condition", made)
    said = [found["verificationStatus"]["coding"][0]["code"] for found in (first, second)]
    assert said == ["provisional", "entered-in-error"]
    assert [use["condition"]["reference"] for use in one("Encounter", made)["diagnosis"]] == [
        f"Condition/{first['id']}"
    ]


def test_a_diagnosis_of_an_old_version_has_its_system_and_words() -> None:
    found = one("Condition", convert("ADT^A01", PID, segment("DG1", n2="I9C", n3="410.9", n4="Heart attack")))
    assert found["code"]["coding"] == [{"system": "http://hl7.org/fhir/sid/icd-9-cm", "code": "410.9"}]
    assert found["code"]["text"] == "Heart attack"


def test_a_deleted_allergy_has_no_clinical_status_and_the_same_id() -> None:
    first, second = (
        one("AllergyIntolerance", convert("ADT^A60", PID, segment("IAM", n3="PCN^x^L", n6=action, n7="AL-1^HOSP")))
        for action in ("A", "D")
    )
    assert first["id"] == second["id"] and "verificationStatus" not in first
    assert second["verificationStatus"]["coding"][0]["code"] == "entered-in-error" and "clinicalStatus" not in second


@pytest.mark.parametrize(
    ("relation", "name", "kind"), [("SEL", "Testmann^Ada", "Patient"), ("SPO", "Testmann^Bob", "RelatedPerson")]
)
def test_the_subscriber_is_the_patient_or_a_relative(relation: str, name: str, kind: str) -> None:
    made = convert("ADT^A01", PID, segment("IN1", n2="P", n3="C", n4="Alpha", n16=name, n17=relation))
    coverage = one("Coverage", made)
    assert coverage["subscriber"]["reference"].startswith(kind + "/")
    assert "status" not in coverage and coverage["_status"]["extension"][0]["valueCode"] == "unknown"


@pytest.mark.parametrize(
    ("name", "kind"), [("Testmann^Ada", "Patient"), ("", "Patient"), ("Other^Olga", "RelatedPerson")]
)
def test_who_is_said_to_be_the_patient_under_another_name_is_not(name: str, kind: str) -> None:
    pid = segment("PID", n3="4711^^^HOSP^MR", n5="Testmann^Ada", n18="ACC-1^^^HOSP")
    made = convert("ADT^A01", pid, segment("GT1", n3=name, n11="SEL"), segment("IN1", n2="P", n16=name, n17="SEL"))
    assert one("Coverage", made)["subscriber"]["reference"].startswith(kind)
    assert one("Account", made)["guarantor"][0]["party"]["reference"].startswith(kind)


def test_names_addresses_and_numbers_say_when_they_hold() -> None:
    pid = segment(
        "PID", n3="4711^^^HOSP^MR^^20200101^20301231", n5="Testmann^Ada^^^^^L^^^^^2020^2021^RN",
        n11="1 Way^^Town^^^^H^^^^^^2020^2021", n13="1^PRN^PH^^^^^^^^^^2020^2021",
    )  # fmt: skip
    found = one("Patient", convert("ADT^A01", pid))
    years = {"start": "2020", "end": "2021"}
    assert [found[name][0]["period"] for name in ("name", "address", "telecom")] == [years] * 3
    assert found["identifier"][0]["period"] == {"start": "2020-01-01", "end": "2030-12-31"}
    assert found["name"][0]["suffix"] == ["RN"]


@pytest.mark.parametrize("relation", ["CHD", "PAR"])
def test_who_is_the_child_is_not_guessed(relation: str) -> None:
    coverage = one("Coverage", convert("ADT^A01", PID, segment("IN1", n2="P", n4="Alpha", n17=relation)))
    assert coverage["relationship"]["coding"] == [{"code": relation}]
    said = one(
        "Coverage", convert("ADT^A01", PID, segment("IN1", n2="P", n4="Alpha", n17=relation), segment("IN2", n72="03"))
    )
    assert said["relationship"]["coding"][0]["code"] == "child"


def test_an_insurance_without_a_payor_says_so() -> None:
    (payor,) = one("Coverage", convert("ADT^A01", PID, segment("IN1", n2="P")))["payor"]
    assert payor["extension"][0]["valueCode"] == "unknown"


def test_a_procedure_s_role_is_its_performer_and_a_later_one_the_visit_s() -> None:
    role = segment("ROL", n2="AD", n3="AT^Attending^HL70443", n4="A1^Arzt^Anna")
    made = convert("ADT^A01", PID, pv1(), segment("PR1", n3="X^x^L", n5="20260105"), role)
    assert one("Procedure", made)["performer"] and "participant" not in one("Encounter", made)
    later = convert("ADT^A01", PID, pv1(), segment("PR1", n3="X^x^L"), segment("IN1", n2="P"), role)
    assert "performer" not in one("Procedure", later) and one("Encounter", later)["participant"]


@pytest.mark.parametrize(("role", "action", "where"), [("PP", "AD", "generalPractitioner"), ("PP", "DE", "")])
def test_a_primary_care_provider_is_the_patient_s(role: str, action: str, where: str) -> None:
    made = convert("ADT^A01", PID, segment("ROL", n2=action, n3=f"{role}^x^HL70443", n4="A1^Arzt^Anna"))
    assert ("generalPractitioner" in one("Patient", made)) is bool(where) and not of("CareTeam", made)


def test_problems_goals_and_pathways_never_have_a_better_status_than_said() -> None:
    made = convert(
        "PPR^PC1", PID, segment("PRB", n1="AD", n3="I10^x^I10C", n4="P1", n14="watch"),
        segment("GOL", n1="AD", n3="G^x^L", n4="G1"), segment("PTH", n1="AD", n2="W^x^L", n3="W1"),
    )  # fmt: skip
    assert "clinicalStatus" not in one("Condition", made)
    assert one("Goal", made)["_lifecycleStatus"]["extension"][0]["valueCode"] == "unknown"
    assert one("CarePlan", made)["status"] == "unknown"


@pytest.mark.parametrize(
    ("said", "status"), [("A", "active"), ("P", "draft"), ("R", "revoked"), ("E", "revoked"), ("", "unknown")]
)
def test_a_referral_s_status(said: str, status: str) -> None:
    made = convert(
        "REF^I12", segment("RF1", n1=said, n6="R-1^HOSP"), segment("PRD", n1="RP", n2="Refer^Rolf", n7="R1"), PID
    )
    found = one("ServiceRequest", made)
    assert found["status"] == status and found["requester"]["reference"].startswith("Practitioner/")


def test_a_bed_s_status_needs_no_patient() -> None:
    made = convert("ADT^A20", "NPU|W1^1^A|K")
    assert [found.get("operationalStatus", {}).get("code") for found in of("Location", made)] == [None, None, "K"]
    assert not made.findings


@pytest.mark.parametrize(
    ("said", "status", "ended"),
    [("resolved", "resolved", True), ("watch", "resolved", True), ("active", "active", False)],
)
def test_a_problem_that_has_ended_is_not_active(said: str, status: str, ended: bool) -> None:
    found = one("Condition", convert("PPR^PC1", PID, segment("PRB", n3="I10^x^I10C", n9="20260101", n14=said)))
    assert found["clinicalStatus"]["coding"][0]["code"] == status and ("abatementDateTime" in found) is ended
    assert ended or found["extension"][0]["valueDateTime"] == "2026-01-01"


def test_a_time_that_is_none_is_kept_as_text() -> None:
    found = one("Encounter", convert("ADT^A01", PID, pv1(), segment("PV2", n9="soon")))
    assert [extension["valueString"] for extension in found["extension"]] == ["soon"]
