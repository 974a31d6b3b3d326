"""MSH as MessageHeader: what is certain of a message that holds nothing but its header."""

from __future__ import annotations

from mappings.hl7v2_fhir.dialect import uuid_of
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY, Json, absent_extension


def message_header(reading: Reading) -> Json:
    """Write the MessageHeader; a reference to it. An end without an address says so: FHIR requires one."""
    header = reading.header
    key = stable("MessageHeader", reading.sender, reading.own_name)
    found: Json = {"resourceType": "MessageHeader", "id": key}
    event = reading.texts(header[9], 2)[1]
    found["eventCoding"] = (
        {"system": TERMINOLOGY + "v2-0003", "code": event} if event else {"extension": [absent_extension("unknown")]}
    )
    if header[5] or header[25]:
        found["destination"] = [_end(reading, header[5], header[25])]
    found["source"] = _end(reading, header[3], header[24])
    return reading.put(found)


def _end(reading: Reading, raw: str, network: str) -> Json:
    """An application (HD): its name, and its address: its network address (MSH-24, 25), else the HD where it is one."""
    namespace, universal, kind = reading.texts(raw, 3)[:3]
    found: Json = {"name": namespace} if namespace else {}
    address = ""
    if any(parts := reading.texts(network, 3)[:3]):
        address = _address(reading, *parts)
    elif universal:
        address = _address(reading, "", universal, kind)
    if address:
        found["endpoint"] = address
    else:
        found["_endpoint"] = {"extension": [absent_extension("unknown")]}
        if said := next((text for text in (namespace, universal, *parts[:2]) if text), ""):
            found["name"] = said
    return found


def _address(reading: Reading, namespace: str, universal: str, kind: str) -> str:
    """The address that an HD is; "" where it says that it is a UUID and is none: that is no address of anything."""
    if universal and kind.upper() in ("UUID", "GUID") and not uuid_of(universal):
        return ""
    return reading.dialect.authority(namespace, universal, kind)
