"""Identifier as CX, EI and EIP; the system of an identifier as an assigning authority (HD).

A system is written as what it is: an OID, a UUID, a URI, or the name that its sender gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from mappings.fhir_hl7v2.leaves import joined, leaf, leaves
from mappings.fhir_hl7v2.vocabulary import inverse, reversed_lookup
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_LOCAL = "urn:interlock:authority:"
_TYPES = TERMINOLOGY + "v2-0203"
_REGISTERS = frozenset({"CLIA", "CLIP", "CAP", "NPI", "HCD", "HL7", "X400", "X500", "EUI64", "B64", "CEN", "GUID"})
"""Types of universal ids (HL7 table 0301 and senders' own) that name a register, not a sender."""


class Authority(NamedTuple):
    """An HD: namespace, universal id and its type."""

    namespace: str = ""
    universal: str = ""
    kind: str = ""


class Number(NamedTuple):
    """One identifier, read."""

    value: str
    authority: Authority
    kind: str  # HL7 table 0203

    @property
    def ei(self) -> str:
        """As EI."""
        return leaves((self.value, *self.authority)) if self.value else ""

    @property
    def cx(self) -> str:
        """As CX, without a check digit, which FHIR does not have."""
        if not self.value:
            return ""
        return joined((leaf(self.value), "", "", leaves(self.authority, "&"), leaf(self.kind)))

    @property
    def nested(self) -> str:
        """As EI in sub-components."""
        return leaves((self.value, *self.authority), "&") if self.value else ""


NO_NUMBER = Number("", Authority(), "")


def authority(w: Writing, system: str) -> Authority:
    """The assigning authority that a system names."""
    if not system:
        return Authority()
    if name := reversed_lookup(w.tables, "authorities", system, w.context.received_at):
        return Authority(name)
    if system.startswith(_LOCAL) or system == _LOCAL[:-1]:
        return _local(w, system.removeprefix(_LOCAL))
    if oid := inverse("identifier-systems").get(system):
        return Authority("", oid, "ISO")
    if system.startswith("urn:oid:"):
        return Authority("", system.removeprefix("urn:oid:"), "ISO")
    if system.startswith("urn:uuid:"):
        return Authority("", system.removeprefix("urn:uuid:"), "UUID")
    return Authority("", system, "URI")


def _local(w: Writing, rest: str) -> Authority:
    """An authority in its sender's scope (`SENDER:NAME`), or a universal id of a register (`REGISTER:ID`)."""
    sender, _, name = rest.partition(":")
    sender, name = unquote(sender), unquote(name)
    if sender in _REGISTERS and sender != w.context.sender and name:
        return Authority("", name, sender)
    namespace, _, universal = name.partition("&")
    return Authority(namespace, universal)


def number(w: Writing, identifier: Json) -> Number:
    """An identifier, read whole."""
    value = w.text(identifier, "value")
    if not value:
        return NO_NUMBER
    if identifier.get("use") in ("usual", "official", "secondary"):
        w.skip(identifier, "use")
    return Number(value, authority(w, w.text(identifier, "system")), _kind(w, identifier))


def _kind(w: Writing, identifier: Json) -> str:
    concept = w.item(identifier, "type")
    for coding in w.items(concept, "coding"):
        if coding.get("system") == _TYPES and (code := w.text(coding, "code")):
            w.skip(coding, "system", "display")
            w.skip(concept, "text")
            return code
    return w.text(concept, "text") if " " in str(concept.get("text")) else ""


def numbers(w: Writing, element: Json, name: str = "identifier") -> list[Number]:
    """Every identifier of an element, each once."""
    found = (number(w, identifier) for identifier in w.items(element, name))
    return list(dict.fromkeys(one for one in found if one.value))


def of_kind(found: Sequence[Number], *kinds: str) -> Number:
    """The first of some kinds, the kinds in their order."""
    return next((one for kind in kinds for one in found if one.kind == kind), NO_NUMBER)


def pair(placer: Number, filler: Number) -> str:
    """EIP: the placer's and the filler's number."""
    return joined((placer.nested, filler.nested))
