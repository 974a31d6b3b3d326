"""What a destination may ask for: Provenance, MessageHeader and the message as it came."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from fhir_rules import faults

from engine.formats.hl7v2 import read
from engine.ports import Conversion
from mappings.hl7v2_fhir import transaction
from mappings.hl7v2_fhir.vocabulary import Json
from mappings.lookup import CodeTables

TABLES = CodeTables()
MESSAGE = "\r".join((
    "MSH|^~\\&|ADT^1.2.3^ISO|HOSP^2.999.7^ISO|EHR|CLINIC|20260105101500-0600||ADT^A01^ADT_A01|A-1|P|2.5.1"
    "||||||||||Trust^^T1",
    "EVN||20260105101000-0600||P^Planned^L|OP1^Operator^Olga|20260105100000-0600|HOSP",
    "PID|1||4711^^^HOSP^MR||Testmann^Ada",
    "PV1|1|I|W1||||||||||||||||V-1^^^HOSP^VN",
    "",
))  # fmt: skip
RECEIVED = 1_767_600_000_000_000


def made(message: str = MESSAGE, **options: Any) -> list[Json]:
    context = Conversion("test", sender="test", received_at=RECEIVED, options=options)
    bundle = orjson.loads(transaction(read(message.encode()), TABLES, context).payload)
    assert faults(bundle) == []
    return [entry["resource"] for entry in bundle["entry"]]


def of(kind: str, resources: list[Json]) -> list[Json]:
    return [resource for resource in resources if resource["resourceType"] == kind]


def test_nothing_of_it_is_written_where_nobody_asks() -> None:
    kinds = {resource["resourceType"] for resource in made()}
    assert not kinds & {"Provenance", "MessageHeader", "Binary", "DocumentReference"}
    assert made() == made(provenance=False, original="")


def test_the_provenance_is_of_everything_that_is_written() -> None:
    found = made(provenance=True)
    sent, event = of("Provenance", found)
    (header,) = of("MessageHeader", found)
    targets = {target["reference"] for target in sent["target"]}
    late = {f"Organization/{one['id']}" for one in of("Organization", found)}
    late |= {
        f"{one['resourceType']}/{one['id']}" for one in found if one["resourceType"] in ("Practitioner", "Location")
    }
    assert targets >= {f"Patient/{of('Patient', found)[0]['id']}", f"Encounter/{of('Encounter', found)[0]['id']}"}
    assert targets | late >= {f"{one['resourceType']}/{one['id']}" for one in found} - {
        f"Provenance/{sent['id']}", f"Provenance/{event['id']}"
    }  # fmt: skip
    assert sent["recorded"] == "2026-01-05T10:15:00-06:00" and sent["activity"]["text"] == "message - ADT^A01^ADT_A01"
    assert sent["agent"][0]["who"] == header["sender"]
    assert "entity" not in sent
    assert event["target"] == [{"reference": f"MessageHeader/{header['id']}"}]
    assert event["recorded"] == "2026-01-05T10:10:00-06:00"
    assert event["occurredDateTime"] == "2026-01-05T10:00:00-06:00"
    assert event["reason"][0]["text"] == "Planned"


def test_the_header_names_event_and_ends() -> None:
    (header,) = of("MessageHeader", made(provenance=True))
    assert header["eventCoding"] == {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A01"}
    assert header["source"] == {"name": "ADT", "endpoint": "urn:oid:1.2.3"}
    assert header["destination"][0]["name"] == "EHR" and "receiver" in header["destination"][0]
    assert "responsible" in header


def test_an_end_without_an_address_says_so() -> None:
    (header,) = of("MessageHeader", made(MESSAGE.replace("ADT^1.2.3^ISO", "ADT"), provenance=True))
    assert header["source"]["_endpoint"]["extension"][0]["valueCode"] == "unknown"


@pytest.mark.parametrize("kind", ["Binary", "DocumentReference"])
def test_the_original_is_the_bytes_that_came(kind: str) -> None:
    found = made(provenance=True, original=kind)
    (kept,) = of(kind, found)
    held = kept if kind == "Binary" else kept["content"][0]["attachment"]
    assert base64.b64decode(held["data"]) == MESSAGE.encode()
    assert held["contentType"] == "x-application/hl7-v2+er7"
    assert of("Provenance", found)[0]["entity"] == [{"role": "source", "what": {"reference": f"{kind}/{kept['id']}"}}]
    (alone,) = of(kind, made(original=kind))
    assert alone == kept


def test_without_a_time_the_message_is_recorded_when_it_came() -> None:
    (sent, *_) = of("Provenance", made(MESSAGE.replace("20260105101500-0600", "20260105"), provenance=True))
    assert sent["recorded"] == "2026-01-05T08:00:00+00:00"


def test_without_a_facility_nobody_is_named() -> None:
    (sent, *_) = of("Provenance", made(MESSAGE.replace("HOSP^2.999.7^ISO", ""), provenance=True))
    assert sent["agent"][0]["who"]["extension"][0]["valueCode"] == "unknown"
