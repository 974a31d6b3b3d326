"""Field maps: a CSV table says which element goes to which field; each is compiled once into plain functions.

A file `PID-Patient.csv` fills a PID from a Patient. Of two maps that fill one segment the first value counts. The rows
are

    field,element,as,using,since,until,comment

* `field`: the number of the field.
* `element`: the path in the resource, such as `code` or `collection.method`; of a list on the way its first item.
* `as`: the HL7 data type to write, a name of `TYPES`; `CE` is CWE since 2.6, `TS` DTM, `IS` CWE since 2.7.
  With a star every repetition is written. `built` says that a builder writes it, and the comment which.
* `using`: what the type needs: a code table for `ID`, a use for `XTN*`, `v2` for an `IS` that takes v2 codes only.
* `since`, `until`: the first and the last version that has the field; both may be empty.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engine.errors import Configuration
from mappings.fhir_hl7v2.clock import stamp
from mappings.fhir_hl7v2.codes import coded, concept, concepts, full_type, own_code
from mappings.fhir_hl7v2.identifiers import numbers
from mappings.fhir_hl7v2.leaves import leaf, repeated
from mappings.fhir_hl7v2.names import addresses, names, organization, people, telecoms
from mappings.fhir_hl7v2.options import VERSIONS
from mappings.fhir_hl7v2.quantities import composite, digits
from mappings.fhir_hl7v2.writing import Json, Writing, kind_of, word

_HL7_TABLES = "http://terminology.hl7.org/CodeSystem/v2-"
FOLDER = Path(__file__).with_name("maps")
COLUMNS = ("field", "element", "as", "using", "since", "until", "comment")
BUILT = "built"

Fields = dict[int, str]
"""A segment's fields by their numbers, escaped."""


class Place(NamedTuple):
    """Where a value comes from: the element that holds it, its name, the resource, and the path to report."""

    element: Json
    name: str
    resource: Json
    where: str


Put = Callable[[Writing, Place, str], str]
"""(writing, place, what stands under `using`) -> the field, escaped."""


class MapRow(NamedTuple):
    """One row of a map."""

    field: int
    path: tuple[str, ...]
    kind: str
    using: str
    since: str
    until: str


@cache
def field_map(name: str) -> tuple[MapRow, ...]:
    """The map of that name, such as `PID-Patient`.

    Raises:
        Configuration: file:line of the first fault.
    """
    path = FOLDER / f"{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise Configuration(f"the columns of a map are {','.join(COLUMNS)}", where=f"{path}:1")
        return tuple(_row(row, f"{path}:{reader.line_num}") for row in reader)


def _row(row: Mapping[str, str], where: str) -> MapRow:
    known = row["as"] in TYPES or row["as"] == BUILT
    versions = all(row[name] in ("", *VERSIONS) for name in ("since", "until"))
    if not (row["field"].isdigit() and known and versions):
        raise Configuration("the row names no field, type or version that there is", where=where)
    return MapRow(
        int(row["field"]), tuple(row["element"].split(".")), row["as"], row["using"], row["since"], row["until"]
    )


def fill(w: Writing, name: str, resource: Json, fields: Fields) -> Fields:
    """Fill the fields that are still empty from a resource, by the map of that name."""
    kind = kind_of(resource)
    for row in field_map(name):
        if row.kind == BUILT or fields.get(row.field) or not has_field(w, row):
            continue
        element = resource
        for step in row.path[:-1]:
            element = w.item(element, step)
        place = Place(element, row.path[-1], resource, f"{kind}.{'.'.join(row.path)}")
        if found := TYPES[row.kind](w, place, row.using):
            fields[row.field] = found
    return fields


def has_field(w: Writing, row: MapRow) -> bool:
    """True when the version that is written has the field."""
    late = row.until and w.options.number > tuple(map(int, row.until.split(".")))
    return not late and (not row.since or w.options.since(row.since))


def segment(name: str, fields: Fields) -> str:
    """A segment's text without the empty fields at its end."""
    last = max((n for n, text in fields.items() if text), default=0)
    return "|".join([name, *(fields.get(n, "") for n in range(1, last + 1))])


def _concept(kind: str) -> Put:
    def put(w: Writing, place: Place, using: str) -> str:
        return concept(w, place.element, place.name, full=full_type(w, kind))

    return put


def _concepts(kind: str) -> Put:
    def put(w: Writing, place: Place, using: str) -> str:
        return repeated(concepts(w, place.element, place.name, full=full_type(w, kind)))

    return put


def _bare(w: Writing, place: Place, using: str) -> str:
    """IS: a bare code, of a concept without one its words; CWE since 2.7."""
    if (w.options.since("2.7") or w.options.coded == "CWE") and not using:
        return concept(w, place.element, place.name, full=True)
    said = w.item(place.element, place.name)
    for coding in w.items(said, "coding"):
        if using and not word(coding, "system").startswith(_HL7_TABLES) and "system" in coding:
            continue  # a code of another system is none of the HL7 table
        if code := w.text(coding, "code"):
            if str(coding.get("system", "")).startswith(_HL7_TABLES):
                w.skip(coding, "system", "display", "version")
            return leaf(code)
    return "" if using else leaf(w.text(said, "text"))


def _number(w: Writing, place: Place, using: str) -> str:
    found = digits(place.element.get(place.name))
    if found:
        w.skip(place.element, place.name)
    return found


def _date(w: Writing, place: Place, using: str) -> str:
    return stamp(w, place.element, place.name, place.where)[:8]


def _flag(w: Writing, place: Place, using: str) -> str:
    said = w.flag(place.element, place.name)
    return "" if said is None else "Y" if said else "N"


def _identifiers(w: Writing, place: Place, using: str) -> str:
    return repeated(one.cx for one in numbers(w, place.element, place.name))


def _entity(w: Writing, place: Place, using: str) -> str:
    found = numbers(w, place.element, place.name)
    return found[0].ei if found else ""


def _people(w: Writing, place: Place, using: str) -> str:
    references = w.items(place.element, place.name)
    return people(w, [(w.follow(reference, place.resource), reference) for reference in references])


def _organization(w: Writing, place: Place, using: str) -> str:
    found, reference = w.target(place.element, place.name, place.resource)
    if found.get("resourceType") == "PractitionerRole":
        return ""
    return organization(w, found, reference) if reference else ""


TYPES: Mapping[str, Put] = {
    "ID": lambda w, place, using: coded(w, place.element, place.name, using, place.where),
    "own ID": lambda w, place, using: own_code(w, w.text(place.element, place.name), using, place.where),
    "IS": _bare,
    "CE": _concept("CE"),
    "CWE": _concept("CWE"),
    "CE*": _concepts("CE"),
    "CWE*": _concepts("CWE"),
    "CX*": _identifiers,
    "EI": _entity,
    "TS": lambda w, place, using: stamp(w, place.element, place.name, place.where),
    "DT": _date,
    "NM": _number,
    "YN": _flag,
    "ST": lambda w, place, using: leaf(w.text(place.element, place.name)),
    "CQ": lambda w, place, using: composite(w, w.item(place.element, place.name)),
    "XPN*": lambda w, place, using: names(w, place.element, place.name),
    "XAD*": lambda w, place, using: addresses(w, place.element, place.name),
    "XTN*": lambda w, place, using: telecoms(w, place.element, place.name, using),
    "XCN*": _people,
    "XON": _organization,
}
"""By the name that a field map uses."""
