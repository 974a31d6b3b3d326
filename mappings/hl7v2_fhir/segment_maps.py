"""Segment maps: a CSV table says which field goes to which element; it is compiled once into plain functions.

A file `AL1-AllergyIntolerance.csv` makes one AllergyIntolerance of each AL1; `PD1-Patient+.csv` adds to the latest
Patient instead. A third part tells two maps of one segment and resource apart: `OBR-Specimen-old.csv`. The rows are

    field,when,element,as,using,comment

* `field`: where the value comes from, as analysts write it: `AL1-3`, a component `AL1-3.2`, or several with a space
  between for an element that is made of several. Empty for what every resource of the map has.
* `when`: nothing, or conditions joined by ` and `: `AL1-2 = DA FA`, `AL1-2 != DA`, `AL1-6 valued`, `AL1-6 empty`.
* `element`: the path in the resource: `code`, `reaction[0].severity`, `period.start`; `name[]` adds to a list. An
  element that has a value keeps it: of two rows for one element the first that says something counts.
* `as`: how, a name of `ELEMENTS` in elements.py, or `built`: by a builder in resources/, which the map documents.
* `using`: what `as` needs: a code table, a constant, a code for `use`.

Where a row's value is not usable nothing is written. The official maps are the model: HL7 v2-to-FHIR IG 1.0
(STU1), segment maps.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import Configuration
from mappings.hl7v2_fhir.elements import ELEMENTS
from mappings.hl7v2_fhir.made import Beside, Made
from mappings.hl7v2_fhir.reading import PADDING, Reading, Row
from mappings.hl7v2_fhir.vocabulary import Json

FOLDER = Path(__file__).with_name("maps")
COLUMNS = ("field", "when", "element", "as", "using", "comment")
BUILT = "built"
_SEGMENT = 3
_LAST_FIELD = len(PADDING) - 1  # of every row: no field beyond it may be asked for
_HOLDS = {"=": True, "!=": False}

Put = Callable[[Json, Any], None]
"""Puts a value into a resource."""
Fill = Callable[[Reading, Row, Json, str], None]
"""Fills a resource from a row; the last argument is where the row stands, such as `AL1[2]`."""
Condition = Callable[[Reading, Row], bool]


class MapRow(NamedTuple):
    """One row of a map, as it stands in the file."""

    fields: tuple[tuple[int, int], ...]  # (field, component or 0)
    when: str
    element: str
    kind: str
    using: str
    line: int


class SegmentMap(NamedTuple):
    """A compiled map. `fill` writes its elements; `keys` name the resource."""

    name: str
    segment: str
    resource: str
    adds: bool  # to the latest resource of that type
    rows: tuple[MapRow, ...]
    fill: Fill
    keys: tuple[tuple[tuple[int, int], ...], ...]  # the fields to name it by, and those for where these are empty
    documents: bool = False  # only says what a builder does, and makes nothing itself

    @property
    def fields(self) -> frozenset[int]:
        """The fields that the map uses; 0, the segment's name, is in every segment and says nothing."""
        return frozenset(field for row in self.rows for field, _ in row.fields if field)


@cache
def shipped() -> Mapping[str, tuple[SegmentMap, ...]]:
    """Every map of the package, by segment."""
    return read_maps(FOLDER)


def read_maps(folder: Path) -> dict[str, tuple[SegmentMap, ...]]:
    """Every map of a folder, by segment.

    Raises:
        Configuration: file:line and what is wrong with it.
    """
    found: dict[str, tuple[SegmentMap, ...]] = {}
    for path in sorted(folder.glob("???-*.csv")):
        made = read_map(path)
        found[made.segment] = (*found.get(made.segment, ()), made)
    return found


def read_map(path: Path) -> SegmentMap:
    """Read and compile one map.

    Raises:
        Configuration: file:line and what is wrong with it.
    """
    return compile_map(path, path.read_text("utf-8"))


def compile_map(path: Path, text: str) -> SegmentMap:
    """Compile the text of a map; `path` names it.

    Raises:
        Configuration: file:line and what is wrong with it.
    """
    segment, _, resource = path.stem.partition("-")
    resource = resource.partition("-")[0]
    if len(segment) != _SEGMENT or not segment.isalnum() or not resource.rstrip("+").isalpha():
        raise _fault(path, 1, "a map is named after segment and resource, as in NK1-RelatedPerson.csv")
    rows = tuple(_rows(path, segment, text))
    steps = tuple(_step(path, segment, row) for row in rows if row.kind not in (BUILT, "key"))
    keys = tuple(
        tuple(field for row in rows if row.kind == "key" and row.using == word for field in row.fields)
        for word in ("", "else")
    )

    def fill(reading: Reading, row: Row, resource: Json, where: str) -> None:
        for step in steps:
            step(reading, row, resource, where)

    adds = resource.endswith("+")
    return SegmentMap(path.stem, segment, resource.rstrip("+"), adds, rows, fill, keys, documents=not steps)


def _rows(path: Path, segment: str, text: str) -> list[MapRow]:
    reader = csv.reader(text.splitlines(keepends=True))
    if tuple(next(reader, ())) != COLUMNS:
        raise _fault(path, 1, f"the columns of a map are {','.join(COLUMNS)}")
    return [_row(path, reader.line_num, segment, cells) for cells in reader if cells]


def _row(path: Path, line: int, segment: str, cells: Sequence[str]) -> MapRow:
    if len(cells) != len(COLUMNS):
        raise _fault(path, line, f"the row has {len(cells)} cells instead of {len(COLUMNS)}")
    field, when, element, kind, using, _ = cells
    if kind not in ELEMENTS and kind not in (BUILT, "key"):
        raise _fault(path, line, f"`{kind}` is no way to make an element; there are {', '.join(sorted(ELEMENTS))}")
    fields = tuple(_field(path, line, segment, name) for name in field.split())
    return MapRow(fields, when, element, kind, using, line)


def _field(path: Path, line: int, segment: str, name: str) -> tuple[int, int]:
    own, _, number = name.partition("-")
    field, _, component = number.partition(".")
    if own != segment or not field.isdigit() or int(field) > _LAST_FIELD or (component and not component.isdigit()):
        raise _fault(path, line, f"`{name}` is no field of {segment}")
    return int(field), int(component or 0)


def _step(path: Path, segment: str, row: MapRow) -> Fill:
    """One row as a function; what it needs is looked up now, not for each message."""
    try:
        make = ELEMENTS[row.kind](row.using)
    except (Configuration, KeyError, ValueError) as error:
        raise _fault(path, row.line, f"`{row.using}` is nothing that `{row.kind}` can use") from error
    holds = _condition(path, row, segment)
    put, leaf = _putter(path, row)
    fields = row.fields
    name = f"-{fields[0][0]}" if fields else ""

    def step(reading: Reading, given: Row, resource: Json, where: str) -> None:
        raws = [taken(reading, given, *field) for field in fields]
        if (raws and not any(raws)) or (holds is not None and not holds(reading, given)):
            return
        made = make(Made(reading, raws, leaf, where + name))
        if made is not None and made != [] and made != "":
            put(resource, made)

    return step


def taken(reading: Reading, row: Row, field: int, component: int) -> str:
    """The raw field, or one component of its first repetition; "" for the null value."""
    raw = row[field]
    if not raw or raw == '""':
        return ""
    if not component:
        return raw
    return reading.parts(raw.split(reading.repetition, 1)[0], component)[component - 1]


def _condition(path: Path, row: MapRow, segment: str) -> Condition | None:
    tests = [_test(path, row, segment, words.split()) for words in row.when.split(" and ") if words]
    if not tests:
        return None
    return lambda reading, given: all(test(reading, given) for test in tests)


def _test(path: Path, row: MapRow, segment: str, words: Sequence[str]) -> Condition:
    field = _field(path, row.line, segment, words[0])
    if words[1:] in (["valued"], ["empty"]):
        wanted = words[1] == "valued"
        return lambda reading, given: bool(taken(reading, given, *field)) is wanted
    if len(words) > 2 and words[1] in _HOLDS:
        holds, codes = _HOLDS[words[1]], frozenset(words[2:])
        return lambda reading, given: (reading.part(taken(reading, given, *field)) in codes) is holds
    raise _fault(path, row.line, f"`{row.when}` is no condition; write `{words[0]} = A B`, `valued` or `empty`")


def _putter(path: Path, row: MapRow) -> tuple[Put, str]:
    """What puts a value at a path, and the name at its end. Parents are made when there is a value."""
    *parents, leaf = row.element.split(".")
    steps = [_parent(path, row, name) for name in parents]
    many = leaf.endswith("[]")
    leaf = leaf.removesuffix("[]")

    def put(resource: Json, value: Any) -> None:
        target = resource
        for step in steps:
            target = step(target)
        if isinstance(value, Beside):
            for name, part in () if many else value.items():
                target.setdefault(name, part)
        elif many:
            target.setdefault(leaf, []).extend(value if isinstance(value, list) else [value])
        else:
            target.setdefault(leaf, value)

    return put, leaf


def _parent(path: Path, row: MapRow, name: str) -> Callable[[Json], Json]:
    if name == "meta":
        return _own_meta
    if not name.endswith("]"):
        return lambda target: target.setdefault(name, {})
    name, _, number = name[:-1].partition("[")
    if not number.isdigit():
        raise _fault(path, row.line, f"`{row.element}` is no path: a list inside it needs a number, as in `{name}[0]`")
    index = int(number)

    def element(target: Json) -> Json:
        found: list[Json] = target.setdefault(name, [])
        while len(found) <= index:
            found.append({})
        return found[index]

    return element


def _own_meta(target: Json) -> Json:
    """The meta of this resource alone: what tags test data is shared by all."""
    found: Json = dict(target.get("meta", {}))
    target["meta"] = found
    return found


def _fault(path: Path, line: int, text: str) -> Configuration:
    return Configuration(text, where=f"{path}:{line}", advice="segment_maps.py says what the columns hold.")
