"""Parent and child orders: susceptibilities that belong to an organism which another order found.

A parent is named by its order numbers (OBR-29) and its result by code, sub-id and text (OBR-26). What is not in this
message keeps its identifiers: a reference never points to something that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

from mappings.hl7v2_fhir.datatypes.codes import coded
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.order import Numbers, parent_numbers
from mappings.hl7v2_fhir.structure import Order
from mappings.hl7v2_fhir.vocabulary import Json


@dataclass(slots=True)
class _Member:
    order: Order
    request: Json
    results: list[Json]


class Family:
    """The orders of one message, by their numbers."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._members: list[_Member] = []
        self._by_number: dict[tuple[str, str], _Member] = {}
        self._later: dict[str, dict[str, list[Json]]] = {}

    def add(self, order: Order, numbers: Numbers, request: Json, results: list[Json]) -> None:
        """Remember an order that has been written."""
        member = _Member(order, request, results)
        self._members.append(member)
        for number in numbers.all:
            self._by_number.setdefault((number["system"], number["value"]), member)

    def join(self) -> None:
        """Connect every child with its parent."""
        for child in self._members:
            if not child.order.row[29]:
                continue
            numbers = parent_numbers(self._reading, child.order)
            if numbers:
                self._join(child, numbers)
        for url, references in self._later.items():
            self._reading.add(url, references)

    def _join(self, child: _Member, numbers: list[Json]) -> None:
        request = self._reading.resources[child.request["reference"]]
        found = (self._by_number.get((number["system"], number["value"])) for number in numbers)
        parent = next((member for member in found if member is not None and member is not child), None)
        if parent is None:
            request["basedOn"] = [{"identifier": number} for number in numbers]
            self._reading.find("parent_not_found", f"OBR[{child.order.number}]-29")
            return
        request["basedOn"] = [parent.request]
        if child.order.row[26]:
            self._join_results(child, parent)

    def _join_results(self, child: _Member, parent: _Member) -> None:
        reading = self._reading
        organism = self._result(parent, child.order.row[26])
        if organism is None:
            reading.find("parent_not_found", f"OBR[{child.order.number}]-26")
            return
        members = self._added(organism, "hasMember")
        for result in child.results:
            resource = reading.resources[result["reference"]]
            if resource["resourceType"] == "Observation" and result != organism and result not in members:
                members.append(result)
                self._added(result, "derivedFrom").append(organism)

    def _added(self, result: Json, name: str) -> list[Json]:
        """The references that a result gets beside what it was written with."""
        return self._later.setdefault(result["reference"], {}).setdefault(name, [])

    def _result(self, parent: _Member, raw: str) -> Json | None:
        """The parent's result that OBR-26 (PRL) names: same code, same sub-id."""
        reading = self._reading
        parts = reading.parts(raw, 2)
        wanted = coded(reading, parts[0].replace(reading.subcomponent, reading.component))
        for result, reference in zip(parent.order.results, parent.results, strict=True):
            code = coded(reading, result.row[3])
            if code.code == wanted.code and reading.text(result.row[4]) == reading.text(parts[1]):
                resource = reading.resources[reference["reference"]]
                return reference if resource["resourceType"] == "Observation" else None
        return None
