"""Names, addresses, numbers to call, and who did what: one actor is one resource, and nobody is made up."""

from __future__ import annotations

from typing import Any

import pytest
from fhir_rules import walk
from result_messages import HEAD, OBR, of

from tests.unit.rules.segments import bundle, findings, good, message, obr, obx, only, segment

LEE = "7^Lee^Hannah^^^Dr^^^LEE"
MOSS = "9^Moss^Elin^^^^^^LEE"
STANDARD = "http://hl7.org/fhir/StructureDefinition/"


def patient(**fields: str) -> dict[str, Any]:
    return only("Patient", good(HEAD, segment("PID", n3="1^^^A^MR", **fields), OBR))


# names


@pytest.mark.parametrize(
    ("kind", "use"),
    [("L", "official"), ("D", "usual"), ("M", "maiden"), ("N", "nickname"), ("MSK", "anonymous"), ("BAD", "old"),
     ("", None), ("ZZ", None)],
)  # fmt: skip
def test_the_type_of_a_name_is_its_use(kind: str, use: str | None) -> None:
    (name,) = patient(n5=f"Marlowe^Iris^^^^^{kind}")["name"]
    assert name.get("use") == use


def test_the_first_given_name_comes_before_further_ones() -> None:
    (name,) = patient(n5="Marlowe^Iris Mae^Jane Ann^Jr^Dr^PhD")["name"]
    assert name["given"] == ["Iris Mae", "Jane", "Ann"]
    assert (name["prefix"], name["suffix"]) == (["Dr"], ["Jr", "PhD"])


def test_the_parts_of_a_family_name_are_extensions() -> None:
    (name,) = patient(n5="van Dam-de Boer&van&Dam&de&Boer^Ann")["name"]
    assert name["family"] == "van Dam-de Boer"
    assert {one["url"]: one["valueString"] for one in name["_family"]["extension"]} == {
        STANDARD + "humanname-own-prefix": "van",
        STANDARD + "humanname-own-name": "Dam",
        STANDARD + "humanname-partner-prefix": "de",
        STANDARD + "humanname-partner-name": "Boer",
    }


def test_a_null_name_is_none() -> None:
    assert "name" not in patient(n5='""') and "name" not in patient(n5='""^""^^^^^L')


# addresses


def test_the_lines_of_an_address_and_its_county() -> None:
    (found,) = patient(n11="1 Elm Road&Elm Road&1^Flat 2^Duluth^MN^55801^USA^H^^Saint Louis")["address"]
    assert found == {
        "use": "home", "line": ["1 Elm Road", "Elm Road", "1", "Flat 2"], "city": "Duluth", "district": "Saint Louis",
        "state": "MN", "postalCode": "55801", "country": "USA",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "use"),
    [("H", "home"), ("B", "work"), ("O", "work"), ("C", "temp"), ("BA", "old"), ("BI", "billing"), ("", None)],
)
def test_the_type_of_an_address_is_its_use(kind: str, use: str | None) -> None:
    (found,) = patient(n11=f"1 Elm Road^^Duluth^^^^{kind}")["address"]
    assert found.get("use") == use and "type" not in found


@pytest.mark.parametrize("kind", ["M", "SH"])
def test_a_mailing_or_shipping_address_is_postal(kind: str) -> None:
    (found,) = patient(n11=f"1 Elm Road^^Duluth^^^^{kind}")["address"]
    assert found["type"] == "postal" and "use" not in found


# numbers to call


@pytest.mark.parametrize(
    ("xtn", "value"),
    [
        ("one^PRN^PH^^1^218^5550101^9^^^^whole", "whole"),
        ("one^PRN^PH^^1^218^5550101^9", "+1 (218) 5550101 x9"),
        ("one^PRN^PH^^^218^5550101", "(218) 5550101"),
        ("one^PRN^PH^^^^5550101", "5550101"),
        ("one^PRN^PH^^1^218", "one"),
        ("one", "one"),
    ],
)
def test_a_number_is_the_whole_one_else_composed_else_as_written(xtn: str, value: str) -> None:
    assert patient(n13=xtn)["telecom"][0]["value"] == value


@pytest.mark.parametrize("kind", ["Internet", "X.400"])
def test_an_electronic_address_is_an_email_from_its_own_component(kind: str) -> None:
    found = patient(n13=f"5550101^NET^{kind}^a@b.example")["telecom"][0]
    assert (found["system"], found["value"]) == ("email", "a@b.example")


@pytest.mark.parametrize(
    ("xtn", "use"), [("1^WPN^CP", "mobile"), ("1^PRS^PH", "mobile"), ("1^PRN^PH", "home"), ("1^WPN^PH", "work")]
)
def test_a_cellular_or_personal_number_is_mobile(xtn: str, use: str) -> None:
    assert patient(n13=xtn)["telecom"][0]["use"] == use


@pytest.mark.parametrize(
    ("xtn", "system"),
    [("1", "phone"), ("1^PRN", "phone"), ("1^PRN^ZZ", "phone"), ("1^PRN^FX", "fax"), ("1^^BP", "pager")],
)
def test_a_number_has_a_system_whatever_the_message_says(xtn: str, system: str) -> None:
    """cpt-2."""
    assert patient(n13=xtn)["telecom"][0]["system"] == system


@pytest.mark.parametrize("xtn", ['""', "^PRN^PH", "^^^^^218"])
def test_no_number_is_no_telecom(xtn: str) -> None:
    assert "telecom" not in patient(n13=xtn)


# sex


@pytest.mark.parametrize(
    ("said", "gender"),
    [("F", "female"), ("M", "male"), ("A", "other"), ("N", "other"), ("O", "other"), ("U", "unknown")],
)
def test_the_administrative_sex(said: str, gender: str) -> None:
    assert patient(n8=said)["gender"] == gender


# who


def performers(**fields: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The performers of a result, and every resource by its URL."""
    made = message(obr(), obx(**fields))
    every = {entry["request"]["url"]: entry["resource"] for entry in bundle(made)["entry"]}
    return only("Observation", made).get("performer", []), every


def test_the_performing_laboratory_is_an_organization_with_its_address() -> None:
    ((reference,), every) = performers(n23="Main Lab^L^^^^LEE^XX^^^ML1", n24="1 Road^^Duluth")
    found = every[reference["reference"]]
    assert found["identifier"][0]["value"] == "ML1"
    assert (found["name"], found["address"][0]["city"]) == ("Main Lab", "Duluth")


def test_the_producer_of_older_versions_is_a_performer() -> None:
    ((reference,), every) = performers(n15="ML1^Main Lab^L")
    assert every[reference["reference"]]["name"] == "Main Lab"


def test_the_medical_director_is_a_role_at_the_laboratory() -> None:
    (place, role), every = performers(n23="Main Lab^L^^^^LEE^XX^^^ML1", n25=MOSS)
    found = every[role["reference"]]
    assert found["resourceType"] == "PractitionerRole" and found["organization"] == place
    assert found["code"][0]["coding"][0] == {"system": "http://terminology.hl7.org/CodeSystem/v2-0912", "code": "MDIR"}
    assert every[found["practitioner"]["reference"]]["name"][0]["family"] == "Moss"


@pytest.mark.parametrize(("xcn", "named"), [(LEE, "reference"), ("^Lee^Hannah", "display")])
def test_the_responsible_observer_is_a_performer_and_said_to_be_responsible(xcn: str, named: str) -> None:
    ((found,), _) = performers(n16=xcn)
    assert named in found
    (extension,) = found["extension"]
    assert extension["url"] == STANDARD + "event-performerFunction"
    assert extension["valueCodeableConcept"]["coding"][0]["code"] == "RESP"


def requester(orc: str, **fields: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    made = message(orc, obr(**fields))
    every = {entry["request"]["url"]: entry["resource"] for entry in bundle(made)["entry"]}
    return every[only("ServiceRequest", made)["requester"]["reference"]], every


@pytest.mark.parametrize(("orc", "fields"), [("ORC|RE", {"n16": LEE}), (segment("ORC", n1="RE", n12=LEE), {})])
def test_the_ordering_provider_asks_by_obr_16_else_orc_12(orc: str, fields: dict[str, str]) -> None:
    assert requester(orc, **fields)[0]["name"][0]["family"] == "Lee"


def test_the_ordering_provider_asks_for_the_ordering_facility() -> None:
    found, every = requester(segment("ORC", n1="RE", n12=LEE, n21="Lee Practice^L^^^^LEE^XX^^^LP1"))
    assert found["resourceType"] == "PractitionerRole"
    assert every[found["practitioner"]["reference"]]["name"][0]["family"] == "Lee"
    assert every[found["organization"]["reference"]]["name"] == "Lee Practice"


@pytest.mark.parametrize("ndl", ["9&Moss&Elin&&&&&&LEE^20260105", MOSS])
def test_the_principal_interpreter_is_in_the_report(ndl: str) -> None:
    made = message(obr(n32=ndl))
    (reference,) = only("DiagnosticReport", made)["resultsInterpreter"]
    person = only("Practitioner", made)
    assert reference["reference"] == f"Practitioner/{person['id']}"
    assert (person["name"][0]["family"], person["identifier"][0]["value"]) == ("Moss", "9")


def test_who_gets_a_copy_has_no_part_in_the_result() -> None:
    made = message(obr(n28=MOSS), obx())
    assert only("DiagnosticReport", made).keys().isdisjoint({"performer", "resultsInterpreter"})
    assert "performer" not in only("Observation", made)
    assert only("ServiceRequest", made).keys().isdisjoint({"performer", "requester"})


def test_repetitions_of_one_person_with_several_numbers_are_one_practitioner() -> None:
    npi = "1234567890^Lee^Hannah^^^Dr^^^&2.16.840.1.113883.4.6&ISO"
    found = only("Practitioner", message(obr(n16=f"{npi}~{LEE}")))
    assert [one["value"] for one in found["identifier"]] == ["1234567890", "7"]


def test_repetitions_of_two_people_are_two() -> None:
    pv1 = segment("PV1", n2="O", n7=f"{LEE}~{MOSS}")
    assert len(of("Practitioner", message(pv1, obr()))) == 2


def test_one_actor_is_one_resource_wherever_it_is_named() -> None:
    lab = {"n23": "Main Lab^L^^^^LEE^XX^^^ML1", "n25": MOSS, "n16": LEE}
    results = [obx(n3=f"T{n}^Test^L", **lab) for n in range(3)]
    made = message(segment("PV1", n2="O", n7=LEE), segment("ORC", n1="RE", n12=LEE), obr(n16=LEE, n32=MOSS), *results)
    kinds = ("Organization", "PractitionerRole", "Practitioner")
    assert [len(of(kind, made)) for kind in kinds] == [1, 1, 2]


def test_who_has_no_number_is_shown_and_is_no_resource() -> None:
    made = message(obr(n16="^Lee^Hannah"), obx(n16="^Lee^Hannah"))
    assert not of("Practitioner", made)
    assert only("ServiceRequest", made)["requester"] == {"display": "Hannah Lee"}


@pytest.mark.parametrize("raw", ['""', "^^", "~"])
def test_an_actor_that_says_nothing_is_nobody(raw: str) -> None:
    made = message(segment("ORC", n1="RE", n21=raw), obr(n16=raw, n32=raw), obx(n15=raw, n16=raw, n23=raw, n25=raw))
    assert {one["resourceType"] for one in walk(bundle(made)) if "resourceType" in one} == {
        "Bundle", "Patient", "Observation", "ServiceRequest", "DiagnosticReport"
    }  # fmt: skip
    assert "performer" not in only("Observation", made) and findings(made) == []
