"""What a pharmacy segment is about: a coded medication, or a Medication with its form, strength, lot and components.

The code alone is a CodeableConcept in the request. Whatever else is said of the product makes it a resource of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts
from mappings.hl7v2_fhir.datatypes.identifiers import entity
from mappings.hl7v2_fhir.datatypes.quantities import number, unit_of
from mappings.hl7v2_fhir.datatypes.tables import suggested
from mappings.hl7v2_fhir.datatypes.times import put_time
from mappings.hl7v2_fhir.ids import stable
from mappings.hl7v2_fhir.reading import Reading, Row
from mappings.hl7v2_fhir.resources.people import producer
from mappings.hl7v2_fhir.structure import Noted
from mappings.hl7v2_fhir.vocabulary import OWN, Json, absent_extension, own_text


class Product(NamedTuple):
    """The fields of a segment that describe the product; 0 where it has none."""

    code: int
    form: int
    strength: int
    volume: int
    lot: int = 0
    expires: int = 0
    maker: int = 0
    barcode: int = 0
    words: int = 0  # where a medication without a code is described


PRODUCTS: Mapping[str, Product] = {
    "RXO": Product(1, 5, 18, 25, barcode=29, words=6),
    "RXE": Product(2, 6, 25, 33),
    "RXD": Product(2, 6, 16, 28, 18, 19, 20),
    "RXG": Product(4, 8, 17, 23, 19, 20, 21, 25),
    "RXA": Product(5, 8, 13, 23, 15, 16, 17, 25),
}
"""By segment; the unit of strength and volume stands in the field behind each."""


def amount(reading: Reading, value: str, unit: str, where: str) -> Json:
    """A number and its unit; what is no number is reported and kept. {} where there is none."""
    text = reading.part(value)
    if not text:
        return {}
    digits = number(text)
    if digits is None:
        reading.find("number_invalid", where)
        return {"extension": [own_text("v2-number", text)]}
    return {"value": digits, **unit_of(reading, unit).quantity}


def put_medication(
    reading: Reading, found: Json, segment: Noted, components: Sequence[Noted], named: tuple[str, ...]
) -> None:
    """Put medication[x], which every resource of a pharmacy requires. `named` names the Medication in its id."""
    row, product = segment.row, PRODUCTS[segment.name]
    code = concept(reading, row[product.code].split(reading.repetition, 1)[0])
    if code is None and product.words:
        code = next(iter(concepts(reading, row[product.words])), None)
    if code is None:
        reading.find("code_missing", f"{segment.where}-{product.code}")
        code = {"extension": [absent_extension("unknown")]}
    made = _described(reading, segment, product, code)
    made["ingredient"] = [ingredient for one in components if (ingredient := _component(reading, one))]
    if not made["ingredient"]:
        made["ingredient"] = _strength(reading, segment, product, code)
    if not made["ingredient"]:
        del made["ingredient"]
    if not made:
        found["medicationCodeableConcept"] = code
        return
    resource = {"resourceType": "Medication", "id": stable("Medication", *named), "code": code, **made}
    shown = code.get("text")
    found["medicationReference"] = {**reading.put(resource), **({"display": shown} if shown else {})}


def _described(reading: Reading, segment: Noted, product: Product, code: Json) -> Json:
    """Form, lot, expiry, maker and instance of the product."""
    row = segment.row
    found: Json = {}
    if instance := entity(reading, row[product.barcode]) if product.barcode else None:
        found["identifier"] = [instance]
    if maker := producer(reading, row[product.maker].split(reading.repetition, 1)[0]) if product.maker else None:
        found["manufacturer"] = maker
    if form := concept(reading, row[product.form].split(reading.repetition, 1)[0]):
        found["form"] = form
    batch: Json = {}
    if lot := _joined(reading, row[product.lot]) if product.lot else "":
        batch["lotNumber"] = lot
    if product.expires:
        first = row[product.expires].split(reading.repetition, 1)[0]
        put_time(reading, batch, "expirationDate", first, f"{segment.where}-{product.expires}")
    if batch:
        found["batch"] = batch
    return found


def _joined(reading: Reading, raw: str) -> str:
    return ", ".join(text for part in reading.repetitions(raw) if (text := reading.part(part)))


def _strength(reading: Reading, segment: Noted, product: Product, code: Json) -> list[Json]:
    """The strength of the product as that of its one ingredient, in its volume or in one unit of its form."""
    row = segment.row
    top = amount(reading, row[product.strength], row[product.strength + 1], f"{segment.where}-{product.strength}")
    below = amount(reading, row[product.volume], row[product.volume + 1], f"{segment.where}-{product.volume}")
    if not top and not below:
        return []
    made: Json = {"itemCodeableConcept": code}
    if top:
        made["strength"] = {"numerator": top, "denominator": below or {"value": 1}}
    else:
        made["strength"] = {"numerator": {"extension": [absent_extension("unknown")]}, "denominator": below}
    return [made]


def _component(reading: Reading, rxc: Noted) -> Json | None:
    """RXC as an ingredient: how much of it, whether base or additive, and its own strength."""
    row, where = rxc.row, rxc.where
    code = concept(reading, row[2])
    if code is None:
        return None
    made: Json = {"itemCodeableConcept": code}
    if size := amount(reading, row[3], row[4], where + "-3"):
        made["strength"] = {"numerator": size, "denominator": {"value": 1}}
    said = []
    if kind := next(iter(suggested(reading, row[1], "0166")), None):
        said.append({"url": OWN + "v2-component-type", "valueCodeableConcept": kind})
    said += ({"url": OWN + "v2-supplementary-code", "valueCodeableConcept": one} for one in concepts(reading, row[7]))
    said += (own_text("v2-component-strength", text) for text in _words(reading, row, 5))
    said += (own_text("v2-component-volume", text) for text in _words(reading, row, 8))
    said += (own_text("v2-component-dispensed", text) for text in _words(reading, row, 10))
    if said:
        made["extension"] = said
    return made


def _words(reading: Reading, row: Row, first: int) -> list[str]:
    """An amount and its unit as text: no element of an ingredient holds a second one."""
    value = reading.part(row[first])
    unit = unit_of(reading, row[first + 1]).quantity.get("unit", "")
    return [f"{value} {unit}".strip()] if value else []
