"""The placer's and the filler's number of an order, of its request and its report."""

from __future__ import annotations

from typing import NamedTuple

from mappings.fhir_hl7v2.identifiers import NO_NUMBER, Number, numbers, of_kind
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of


class Numbers(NamedTuple):
    """ORC-2 and ORC-3."""

    placer: Number = NO_NUMBER
    filler: Number = NO_NUMBER


def order_numbers(w: Writing, request: Json, report: Json) -> Numbers:
    """By the type of each identifier; without one, a request's own number is its placer's, a report's its filler's."""
    asked, answered = numbers(w, request), numbers(w, report)
    both = [*asked, *answered]
    placer, filler = of_kind(both, "PLAC"), of_kind(both, "FILL")
    if not placer.value:
        placer = next((one for one in asked if not one.kind), NO_NUMBER)
    if not filler.value:
        filler = next((one for one in answered if not one.kind and one.value != placer.value), NO_NUMBER)
    _report_rest(w, request, (placer, filler))
    _report_rest(w, report, (placer, filler))
    if not (placer.value or filler.value):
        w.find("order_without_number", kind_of(request or report) if request or report else "Observation")
    return Numbers(placer, filler)


def _report_rest(w: Writing, resource: Json, written: tuple[Number, Number]) -> None:
    if any((one.value, one.authority) not in [(n.value, n.authority) for n in written] for one in numbers(w, resource)):
        w.find("element_left_out", f"{kind_of(resource)}.identifier")
