"""Parent and child orders: susceptibilities that belong to an organism which another order found.

A parent is named by its order numbers (OBR-29) and its result by code, sub-id and text (OBR-26). What is not in this
message keeps its identifiers: a reference never points to something that is not there. Of several results that OBR-26
may mean none is taken: a susceptibility of another organism is worse than none.
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
        self._by_number: dict[tuple[str, str], list[_Member]] = {}
        self._later: dict[str, dict[str, list[Json]]] = {}

    def add(self, order: Order, numbers: Numbers, request: Json, results: list[Json]) -> None:
        """Remember an order that has been written."""
        member = _Member(order, request, results)
        self._members.append(member)
        for number in numbers.all:
            self._by_number.setdefault((number["system"], number["value"]), []).append(member)

    def find(self, numbers: list[Json]) -> Json | None:
        """The request of this message with one of these numbers."""
        return next((member.request for member in self._named(numbers)), None)

    def _named(self, numbers: list[Json]) -> list[_Member]:
        """The orders with one of these numbers, in their order for each number: one number may have several."""
        every = [one for number in numbers for one in self._by_number.get((number["system"], number["value"]), ())]
        return list({id(one): one for one in every}.values())

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
        parents = [member for member in self._named(numbers) if member is not child]
        if parents:
            request["basedOn"] = [parents[0].request]
        else:
            request["basedOn"] = [{"identifier": number} for number in numbers]
            self._reading.find("parent_not_found", f"OBR[{child.order.number}]-29")
        if raw := child.order.row[26]:
            self._join_results(child, parents, raw)

    def _join_results(self, child: _Member, parents: list[_Member], raw: str) -> None:
        reading = self._reading
        results = [made for made in child.results if self._observation(made)]
        organism = self._result(parents, raw)
        if organism is None:
            if parents:
                reading.find("parent_not_found", f"OBR[{child.order.number}]-26")
            if words := self._shown(raw):
                for result in results:
                    self._added(result, "derivedFrom").append({"type": "Observation", "display": words})
            return
        members = self._added(organism, "hasMember")
        for result in results:
            if result != organism and result not in members:
                members.append(result)
                self._added(result, "derivedFrom").append(organism)

    def _added(self, result: Json, name: str) -> list[Json]:
        """The references that a result gets beside what it was written with."""
        return self._later.setdefault(result["reference"], {}).setdefault(name, [])

    def _result(self, parents: list[_Member], raw: str) -> Json | None:
        """The parents' result that OBR-26 (PRL) names: by code and sub-id; of several the one with that value."""
        reading = self._reading
        prl = reading.parts(raw, 3)
        code, sub, value = self._code(prl[0]), reading.text(prl[1]), reading.text(prl[2]).casefold()
        results = (pair for parent in parents for pair in zip(parent.order.results, parent.results, strict=True))
        found = [
            (result.row[5], reference)
            for result, reference in results
            if code and coded(reading, result.row[3]).code == code and reading.text(result.row[4]) == sub
        ]
        if len(found) > 1:
            found = [one for one in found if value in self._words(one[0])]
        return self._observation(found[0][1]) if len(found) == 1 else None

    def _observation(self, reference: Json) -> Json | None:
        """The reference, where an Observation was written and no status of a stored one changed."""
        kind = self._reading.resources[reference["reference"]]["resourceType"]
        return reference if kind == "Observation" else None

    def _code(self, part: str) -> str:
        reading = self._reading
        return coded(reading, part.replace(reading.subcomponent, reading.component)).code

    def _words(self, raw: str) -> set[str]:
        """What a value says: the whole of it, and each of its components."""
        reading = self._reading
        return {word.casefold() for word in (reading.text(raw), *reading.texts(raw, 1)) if word}

    def _shown(self, raw: str) -> str:
        """OBR-26 to read: the parent's test, sub-id and value."""
        reading = self._reading
        test, *rest = reading.parts(raw, 3)
        names = reading.texts(test.replace(reading.subcomponent, reading.component), 2)
        return " ".join(word for word in (names[1] or names[0], *map(reading.text, rest)) if word)
