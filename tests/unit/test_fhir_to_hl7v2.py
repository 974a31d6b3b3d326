"""Rules of FHIR to HL7 v2, one by one: numbers, times, codes, statuses, events, findings, and what is held."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Configuration, Held
from engine.formats.hl7v2 import Message, read
from engine.formats.hl7v2.names import field_name
from engine.ports import Conversion
from mappings import fhir_hl7v2
from mappings.convert import convert_file, convert_folder
from mappings.fhir_hl7v2.clock import read_stamp, time_of_day
from mappings.fhir_hl7v2.fields import FOLDER, field_map
from mappings.fhir_hl7v2.options import VERSIONS
from mappings.fhir_hl7v2.quantities import digits
from mappings.fhir_hl7v2.vocabulary import CHOICES, choices, forward, inverse
from mappings.hl7v2_fhir.vocabulary import STANDARD
from mappings.lookup import SHIPPED, CodeTables

TABLES = CodeTables()
T = "http://terminology.hl7.org/CodeSystem/"
INVERTED = (
    *("observation-status", "report-status", "administrative-sex", "name-use", "address-use", "telecom-system"),
    *("telecom-use", "code-systems", "identifier-systems", "section-category", "document-status"),
    *("document-availability", "document-confidentiality", "marital-status"),
)


def context(**options: Any) -> Conversion:
    return Conversion(
        "unit", timezone="America/Chicago", sender="lee", received_at=1_767_600_000_000_000, options=options
    )


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "T"}, **more}


def convert(parsed: Any, make: Callable[..., Any] = fhir_hl7v2.oru, **options: Any) -> tuple[Message, list[str]]:
    """The message, and the findings as "code where"."""
    made = make(json.loads(json.dumps(parsed, default=float), parse_float=Decimal), TABLES, context(**options))
    return read(made.payload), [f"{one.code} {one.where}" for one in made.findings]


def value(given: str, kind: str = "valueQuantity") -> tuple[str, str]:
    """OBX-2 and OBX-5 of an Observation whose value is this JSON."""
    text = f'{{"resourceType":"Observation","status":"final","code":{{"text":"T"}},"{kind}":{given}}}'
    message = read(fhir_hl7v2.oru(json.loads(text, parse_float=Decimal), TABLES, context()).payload)
    return message.get("OBX-2") or "", message.get("OBX-5") or ""


def bundle(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": one} for one in resources], **more}


# numbers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"value":1.10}', ("NM", "1.10")),
        ('{"value":-0.0}', ("NM", "-0.0")),
        ('{"value":1e2}', ("NM", "100")),
        ('{"value":1.5e-7}', ("NM", "0.00000015")),
        ('{"value":12345678901234567890.123}', ("NM", "12345678901234567890.123")),
        ('{"value":1e999999}', ("ST", "1E+999999")),
        ('{"value":5,"comparator":"<"}', ("SN", "<^5")),
        ('{"value":5,"comparator":"ad"}', ("ST", "ad 5")),
        ('{"value":"5"}', ("", "")),
        ('{"value":true}', ("", "")),
    ],
)
def test_numbers_are_written_as_they_came(given: str, expected: tuple[str, str]) -> None:
    assert value(given) == expected


@pytest.mark.parametrize("given", [float("nan"), Decimal("NaN"), Decimal("Infinity"), True, None, "1", 10**70])
def test_what_nm_cannot_hold_is_no_number(given: Any) -> None:
    assert digits(given) == ""


def test_two_units_are_never_written_as_one() -> None:
    kind, text = value('{"low":{"value":1,"unit":"g"},"high":{"value":2,"unit":"mg"}}', "valueRange")
    assert (kind, text) == ("ST", "1 g - 2 mg")


# times


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026", ("2026", "")),
        ("2026-01", ("202601", "")),
        ("2026-01-05", ("20260105", "")),
        ("2026-01-05T07:15:00-06:00", ("20260105071500-0600", "")),
        ("2026-01-05T07:15:00Z", ("20260105071500+0000", "")),
        ("2026-01-05T07:15:00.1200+05:45", ("20260105071500.1200+0545", "")),
        ("2026-01-05T07:15:00.123456Z", ("20260105071500.1234+0000", "time_precision")),
        ("2026-02-30", ("", "time_invalid")),
        ("2026-01-05T25:00:00Z", ("", "time_invalid")),
        ("2026-01-05T07:15:00", ("", "time_invalid")),
        ("2026-01-05|x", ("", "time_invalid")),
        ("٢٠٢٦", ("", "time_invalid")),
    ],
)
def test_times_keep_offset_and_precision(given: str, expected: tuple[str, str]) -> None:
    assert read_stamp(given) == expected


def test_a_time_of_day() -> None:
    assert time_of_day("07:15:30.5") == ("071530.5", "")
    assert time_of_day("07:15") == ("", "time_invalid")


def test_a_time_that_was_kept_beside_comes_back() -> None:
    kept = {
        "extension": [
            {"url": "https://interlock.example/fhir/StructureDefinition/v2-time", "valueString": "2026010507"}
        ]
    }
    message, _ = convert(observation(effectiveDateTime="2026-01-05", _effectiveDateTime=kept))
    assert message.get("OBX-14") == "2026010507"
    kept["extension"][0]["valueString"] = "7 o'clock|"
    message, findings = convert(observation(effectiveDateTime="2026-01-05", _effectiveDateTime=kept))
    assert message.get("OBX-14") == "20260105"
    assert "time_invalid effectiveDateTime" in findings


# codes


@pytest.mark.parametrize("name", INVERTED)
def test_every_shared_code_has_a_choice_with_its_reason(name: str) -> None:
    shared = [code for code, count in Counter(forward(name).values()).items() if count > 1]
    assert [code for code in shared if (name, code) not in choices()] == []


def test_every_choice_is_a_code_of_its_table() -> None:
    with CHOICES.open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["why"], row
            assert not row["v2"] or forward(row["table"])[row["v2"]] == row["code"], row


def test_tables_are_read_backwards() -> None:
    assert inverse("observation-status")["final"] == "F"
    assert inverse("identifier-systems")["http://hl7.org/fhir/sid/us-npi"] == "2.16.840.1.113883.4.6"
    assert (SHIPPED / "observation-status.csv").exists()


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("http://loinc.org", "LN"),
        (T + "v2-0070", "HL70070"),
        ("urn:oid:2.999.5", "2.999.5"),
        ("urn:interlock:codesystem:lab:L%26x", "L\\T\\x"),
        ("http://example.org/codes|x", "http://example.org/codes\\F\\x"),
    ],
)
def test_code_systems_are_written_as_table_0396_names_them(system: str, expected: str) -> None:
    message, _ = convert(observation(code={"coding": [{"system": system, "code": "1"}]}))
    assert message.rows[-2][3].split("^")[2] == expected


@pytest.mark.parametrize(
    ("version", "coded", "expected"),
    [("2.5.1", "", "1^said^LN^2^^LN"), ("2.6", "", "1^^LN^2^^LN^v^^said"), ("2.7", "", "1^^LN^2^^LN^v^^said^3^^LN"),
     ("2.5.1", "CWE", "1^^LN^2^^LN^v^^said^3^^LN")],
)  # fmt: skip
def test_coded_fields_have_the_parts_of_their_version(version: str, coded: str, expected: str) -> None:
    loinc = [{"system": "http://loinc.org", "code": code} for code in "123"]
    loinc[0]["version"] = "v"
    options = {"version": version, **({"coded": coded} if coded else {})}
    message, findings = convert(observation(code={"coding": loinc, "text": "said"}), **options)
    assert message.rows[-2][3] == expected
    assert ("element_left_out Observation.code.coding.code" in findings) is (not expected.endswith("3^^LN"))


# statuses


@pytest.mark.parametrize(
    ("status", "kept", "expected"),
    [
        ("final", "", "F"),
        ("final", "V", "V"),
        ("final", "P", "F"),
        ("registered", "", "I"),
        ("preliminary", "", "P"),
        ("entered-in-error", "", "W"),
        ("entered-in-error", "D", "D"),
        ("unknown", "", ""),
        ("unknown", "ZZ", "ZZ"),
        ("Final", "", ""),
    ],
)
def test_a_result_status_is_never_better_than_it_was(status: str, kept: str, expected: str) -> None:
    said = {"coding": [{"system": T + "v2-0085", "code": kept}]}
    beside = {"extension": [{"url": STANDARD + "alternate-codes", "valueCodeableConcept": said}]}
    message, findings = convert(observation(status=status, **({"_status": beside} if kept else {})))
    assert (message.get("OBX-11") or "") == expected
    assert ("status_unknown Observation.status" in findings) is (not expected)
    assert ("status_differs Observation.status" in findings) is (kept == "P")


def test_a_report_in_error_over_results_that_are_not_is_held() -> None:
    report = {"resourceType": "DiagnosticReport", "status": "entered-in-error", "code": {"text": "R"},
              "result": [{"reference": "Observation/o"}]}  # fmt: skip
    with pytest.raises(Held, match="in error"):
        convert(bundle(report, observation()))
    message, _ = convert(bundle(report, observation(status="entered-in-error")))
    assert message.get("OBR-25") == "C" and message.get("OBX-11") == "W"


@pytest.mark.parametrize("change", [{"status": "draft"}, {"status": "unknown"}, {"status": []}, {"intent": "plan"}])
def test_what_is_no_order_is_not_sent_as_one(change: dict[str, Any]) -> None:
    request = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": {"text": "T"}, **change}
    with pytest.raises(Held) as raised:
        convert(request, fhir_hl7v2.oml)
    assert raised.value.code == "not_convertible"


# events


def encounter(status: str, code: str) -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": "e", "status": status, "class": {"code": code}}


@pytest.mark.parametrize(
    ("status", "code", "event"),
    [
        ("in-progress", "IMP", "A01"),
        ("in-progress", "ACUTE", "A01"),
        ("arrived", "EMER", "A04"),
        ("in-progress", "AMB", "A04"),
        ("finished", "IMP", "A03"),
        ("planned", "IMP", ""),
        ("cancelled", "IMP", ""),
        ("onleave", "IMP", ""),
        ("in-progress", "", ""),
        ("unknown", "AMB", ""),
    ],
)
def test_an_event_is_said_by_the_visit_or_it_is_held(status: str, code: str, event: str) -> None:
    parsed = bundle({"resourceType": "Patient", "id": "p", "identifier": [{"value": "1"}]}, encounter(status, code))
    if not event:
        with pytest.raises(Held, match="event cannot be known"):
            convert(parsed, fhir_hl7v2.adt)
    else:
        message, _ = convert(parsed, fhir_hl7v2.adt)
        assert message.get("MSH-9.2") == event == message.get("EVN-1")
    assert convert(parsed, fhir_hl7v2.adt, event="A08")[0].get("MSH-9.2") == "A08"


def test_a_patient_alone_is_a31_where_it_is_put_and_else_held() -> None:
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "1"}]}
    with pytest.raises(Held):
        convert(patient, fhir_hl7v2.adt)
    parsed = bundle(patient)
    parsed["entry"][0]["request"] = {"method": "PUT", "url": "Patient/p"}
    assert convert(parsed, fhir_hl7v2.adt)[0].get("MSH-9") == "ADT^A31^ADT_A05"


def test_a_merge_names_survivor_and_prior() -> None:
    survivor = {"resourceType": "Patient", "id": "a", "identifier": [{"value": "1"}],
                "link": [{"type": "replaces", "other": {"reference": "Patient/b"}}]}  # fmt: skip
    prior = {"resourceType": "Patient", "id": "b", "identifier": [{"value": "2"}]}
    message, _ = convert(bundle(survivor, prior), fhir_hl7v2.adt)
    assert (message.get("MSH-9.2"), message.get("PID-3.1"), message.get("MRG-1.1")) == ("A40", "1", "2")
    with pytest.raises(Held):
        convert(bundle(prior), fhir_hl7v2.adt, event="A40")


# what is held, what is reported


def test_a_modifier_extension_is_held() -> None:
    with pytest.raises(Held, match="modifier"):
        convert(observation(component=[{"code": {}, "modifierExtension": [{"url": "x"}]}]))


def test_several_patients_are_not_mixed() -> None:
    patients = [{"resourceType": "Patient", "id": n, "identifier": [{"value": n}]} for n in "ab"]
    shots = [{"resourceType": "Immunization", "id": n, "patient": {"reference": f"Patient/{n}"}} for n in "ab"]
    with pytest.raises(Held, match="several patients"):
        convert(bundle(*patients, *shots), fhir_hl7v2.vxu)
    results = [observation(id=n, subject={"reference": f"Patient/{n}"}) for n in "ab"]
    message, _ = convert(bundle(*patients, *results))
    assert [row[0] for row in message.rows][1:-1] == ["PID", "OBR", "OBX", "PID", "OBR", "OBX"]


def test_what_was_not_written_is_reported_by_path_without_values() -> None:
    made = fhir_hl7v2.oru(
        bundle(
            observation(focus=[{"reference": "SECRET"}], **{"SECRET name": 1}), {"resourceType": "Basic", "id": "x"}
        ),
        TABLES,
        context(),
    )
    found = {f"{one.code} {one.where} {one.subject}".strip() for one in made.findings}
    assert {"element_left_out Observation.focus", "element_left_out Observation.?", "resource_left_out Basic"} <= found
    assert not any("SECRET" in one for one in found)


def test_a_narrative_and_an_id_are_not_reported() -> None:
    _, findings = convert(
        observation(text={"status": "generated", "div": "<div/>"}, language=None, meta={"versionId": "1"})
    )
    assert set(findings) == {"order_without_number Observation", "patient_missing Patient"}


# the header


def test_the_control_id_is_the_bundles_else_names_the_content() -> None:
    assert convert(bundle(observation(), identifier={"value": "M-1"}))[0].get("MSH-10") == "M-1"
    first = convert(bundle(observation()))[0].get("MSH-10")
    second = convert(bundle(observation(valueString="x")))[0].get("MSH-10")
    assert first and second and first != second and len(first) == 20
    assert convert(bundle(observation(), identifier={"value": "x" * 50}))[0].get("MSH-10") != "x" * 50
    assert convert(bundle(observation(), identifier={"value": "x" * 50}), version="2.7")[0].get("MSH-10") == "x" * 50


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ({"system": T + "v2-0103", "code": "T"}, "T"),
        ({"system": T + "v2-0103", "code": "D"}, "D"),
        ({"system": T + "v3-ActReason", "code": "HTEST"}, "T"),
        ({"system": "http://example.org", "code": "T"}, "P"),
    ],
)
def test_test_data_is_marked(tag: dict[str, str], expected: str) -> None:
    assert convert(observation(meta={"tag": [tag]}))[0].get("MSH-11") == expected


def test_a_message_header_names_the_ends_and_options_come_first() -> None:
    header = {"resourceType": "MessageHeader", "source": {"name": "A", "endpoint": "urn:oid:2.999.1"},
              "destination": [{"name": "B"}]}  # fmt: skip
    message, _ = convert(bundle(header, observation()))
    assert (message.get("MSH-3"), message.get("MSH-5")) == ("A^2.999.1^ISO", "B")
    assert convert(bundle(header, observation()), sending_application="X|Y")[0].get("MSH-3") == "X|Y"


def test_the_time_of_the_message_is_that_of_its_arrival_in_the_channels_zone() -> None:
    assert convert(observation())[0].get("MSH-7") == "20260105020000-0600"


def test_an_option_that_is_none_is_a_fault() -> None:
    with pytest.raises(Configuration):
        convert(observation(), version="2.2")


# `message`


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([observation()], "ORU"),
        ([{"resourceType": "ServiceRequest", "status": "active", "intent": "order"}], "OML"),
        ([{"resourceType": "MedicationRequest", "status": "active", "intent": "order"}], "RDE"),
        ([{"resourceType": "DocumentReference", "status": "current"}], "MDM"),
        ([{"resourceType": "Immunization", "status": "completed"}], "VXU"),
        ([{"resourceType": "Patient", "id": "p"}, encounter("finished", "IMP")], "ADT"),
        ([observation(), {"resourceType": "Immunization"}], ""),
        ([{"resourceType": "Basic"}], ""),
    ],
)
def test_what_was_sent_says_which_message(resources: list[dict[str, Any]], expected: str) -> None:
    if expected:
        assert convert(bundle(*resources), fhir_hl7v2.message)[0].get("MSH-9.1") == expected
    else:
        with pytest.raises(Held):
            convert(bundle(*resources), fhir_hl7v2.message)


def test_a_message_that_is_named_is_made() -> None:
    request = {"resourceType": "MedicationRequest", "status": "active", "intent": "order"}
    assert convert(request, fhir_hl7v2.message, message="OMP^O09")[0].get("MSH-9") == "OMP^O09^OMP_O09"


# the maps


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_every_field_of_a_map_is_one_of_the_versions_that_it_says(path: Any) -> None:
    segment = path.stem.split("-")[0]
    for row in field_map(path.stem):
        since = VERSIONS.index(row.since) if row.since else 0
        until = VERSIONS.index(row.until) if row.until else len(VERSIONS) - 1
        first = max(since, VERSIONS.index("2.5") if segment == "SPM" else 0)
        for version in VERSIONS[first : until + 1]:
            assert field_name(version, segment, row.field), f"{segment}-{row.field} is not in {version}"


# files


def test_files_of_fhir_are_converted_and_a_bad_one_is_a_report(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(observation(valueString="x")))
    lines = [json.dumps(observation(id=str(n))) for n in range(2)]
    (tmp_path / "b.ndjson").write_text("\n".join(lines))
    (tmp_path / "c.json").write_text('{"resourceType": "Basic"}')
    reports = list(convert_folder(tmp_path, "hl7v2", TABLES, context()))
    assert [report.ok for report in reports] == [True, True, True, False]
    assert reports[0].payload.startswith(b"MSH|^~\\&|") and reports[0].resources == {"Observation": 1}
    assert reports[3].error.startswith("not_convertible")
    (refused,) = convert_file(tmp_path / "a.json", "fhir", TABLES, context())
    assert refused.error.startswith("not_hl7v2")
