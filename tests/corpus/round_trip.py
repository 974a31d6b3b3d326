"""Two HL7 v2 messages compared field by field: one as it came, the other after FHIR and back.

Nothing of the conversions is used here but their tables of codes. `compare` yields for each field of the list that the
first message fills whether it was kept, or by which rule it may differ:

* `kept`: the same, component by component. Aside are: blanks around a component and runs of them within a code, line
  ends within a text, signs and leading zeros of a number, data types of one meaning, synonyms of a coding system, the
  seconds and the offset that a time gains, the name of an assigning authority that has a universal id.
* any other word is the name of a rule in RULES: what FHIR, or the conversion to it, cannot hold.
* `lost`: anything else.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from engine.formats.hl7v2 import Message, Segment, unescape
from mappings.lookup import SHIPPED

RULES = {
    "none": "the original is no value of its type: no time, no number, no identifier",
    "narrowed": "FHIR has one code where v2 has several, and does not keep which it was",
    "filled": "the field was empty and is now what the order or its specimen says",
    "text only": "words without a code of their own are text, and a concept has one; so is a flag nobody knows",
    "doubled": "one number names two things: an identifier in two fields, a specimen with two types",
    "too long": "a control id longer than the version holds becomes twenty digits",
    "status U": "a status without a value changes a stored result: no result is written",
}

FIELDS = (
    *("MSH-10", "MSH-11", "PID-3", "PID-5", "PID-7", "PID-8", "PID-11", "OBR-2", "OBR-3", "OBR-4", "OBR-7", "OBR-8"),
    *("OBR-24", "OBR-25", "OBX-3", "OBX-4", "OBX-5", "OBX-6", "OBX-7", "OBX-8", "OBX-11", "OBX-14", "NTE-3", "SPM-4"),
)
"""The fields that must come back."""

TEXTS = frozenset({"TX", "FT"})
CODED = frozenset({"CE", "CWE", "CNE", "CF", "IS"})
TIMES = frozenset({"TS", "DT", "DTM"})
NUMBERS = frozenset({"NM", "SN", "NR", "CQ"})
_CONTROLS = {n: "�" for n in (*range(9), 11, 12, *range(14, 32), 127)}


def _table(name: str) -> dict[str, str]:
    with (SHIPPED / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return {row["local_code"]: row["code"] for row in csv.DictReader(file)}


SYSTEMS = _table("code-systems")
STATUS = _table("observation-status")
REPORT = _table("report-status")
SEX = _table("administrative-sex")


@dataclass
class Result:
    """An OBX with the other lines of its text, and the lines of its notes."""

    segment: Segment
    values: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass
class Order:
    """An OBR with what belongs to it."""

    segment: Segment | None
    results: list[Result] = field(default_factory=list)
    specimens: list[Segment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class View:
    """A message as orders and patients, read without the conversion."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.patients: list[Segment] = []
        self.orders: list[Order] = []
        self.loose = Order(None)
        self.samples: dict[str, str] = {}  # the type of each specimen number that was met
        self._read()

    def _read(self) -> None:
        order, notes, last = self.loose, list[str](), None
        waiting: list[str] = []
        for segment in self.message.segments:
            name = segment.name
            if name == "OBX":
                result = Result(segment, [segment[5]])
                if last and self._goes_on(last.segment, segment):
                    last.values.append(segment[5])
                    continue
                order.results.append(result)
                last, notes = result, result.notes
                continue
            last = None
            if name == "NTE":
                notes += self.lines(segment[3])
            elif name == "PID":
                self.patients.append(segment)
                order, notes = self.loose, []
            elif name == "ORC":
                order, notes = self.loose, waiting
            elif name == "OBR":
                order = Order(segment, notes=waiting)
                self.orders.append(order)
                waiting, notes = [], order.notes
            elif name == "SPM":
                order.specimens.append(segment)
                notes = []
            else:
                notes = notes if not name else []

    def _goes_on(self, first: Segment, second: Segment) -> bool:
        alike = all(first[n] == second[n] for n in (2, 3, 4, 6, 7, 8, 11, 14, 15, 23))
        return first[2] in TEXTS and alike

    def text(self, raw: str) -> str:
        """Decoded text with its line ends as line feeds."""
        found = "" if raw == '""' else unescape(raw, self.message.separators, self.message.charset)
        return found.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)

    def lines(self, raw: str) -> list[str]:
        """The lines of a text field with its repetitions."""
        return [line for part in self.parts(raw) for line in self.text(part).split("\n")]

    def parts(self, raw: str) -> list[str]:
        """Repetitions as they stand, also the empty ones."""
        mark = self.message.separators.repetition
        return raw.split(mark) if mark else [raw]

    def repetitions(self, raw: str) -> list[str]:
        """Repetitions that say something."""
        return [part for part in self.parts(raw) if part and part != '""']

    def components(self, raw: str, least: int = 14) -> list[str]:
        """Decoded, trimmed components of one repetition."""
        mark = self.message.separators.component
        found = [self.text(part).strip() for part in (raw.split(mark) if mark else [raw])]
        return found + [""] * (least - len(found))

    def nested(self, raw: str, component: int, least: int = 3) -> list[str]:
        """Decoded, trimmed sub-components of one component (counted from 0)."""
        marks = self.message.separators
        parts = raw.split(marks.component) if marks.component else [raw]
        part = parts[component] if component < len(parts) else ""
        found = [self.text(one).strip() for one in (part.split(marks.subcomponent) if marks.subcomponent else [part])]
        return found + [""] * (least - len(found))

    def first(self, raw: str) -> str:
        """The first component of the first repetition."""
        return self.components(self.parts(raw)[0])[0]


Verdict = tuple[str, str]
"""A field and what became of it."""


def compare(before: View, after: View) -> Iterator[Verdict]:
    """Every field of the list that the message had, and what became of it."""
    yield from _header(before, after)
    yield from _patients(before, after)
    orders = _paired(before, after)
    for first, second in orders:
        if second is None:
            yield "OBR-4", "lost"
            continue
        yield from _order(before, first, after, second)
    loose = [one for order in after.orders[len(before.orders) :] for one in order.results]
    yield from _results(before, before.loose.results, after, loose, None)


def _paired(before: View, after: View) -> list[tuple[Order, Order | None]]:
    """Orders by their numbers and code; of equal ones the first with the first."""
    left = list(after.orders)
    found: list[tuple[Order, Order | None]] = []
    for order in before.orders:
        key = _key(before, order)
        twin = next((one for one in left if _key(after, one) == key), None)
        twin = twin or (left[0] if left and len(before.orders) == len(after.orders) else None)
        left = [one for one in left if one is not twin]
        found.append((order, twin))
    return found


def _key(view: View, order: Order) -> tuple[str, ...]:
    assert order.segment is not None
    fields = (order.segment[n] for n in (2, 3, 4))
    numbers = tuple(" ".join(view.first(raw).split()) for raw in fields)
    return numbers if numbers[2] else (*numbers[:2], view.components(view.parts(order.segment[4])[0])[1])


def _header(before: View, after: View) -> Iterator[Verdict]:
    first, second = before.message.segments[0], after.message.segments[0]
    if control := before.first(first[10]):
        long = len(control) > 20 or not control.isprintable()
        verdict = _same(control, after.first(second[10]))
        yield "MSH-10", "too long" if long and verdict == "lost" else verdict
    if (said := before.first(first[11])) in ("P", "T", "D"):
        yield "MSH-11", _same(said, after.first(second[11]))


def _same(first: object, second: object) -> str:
    return "kept" if first == second else "lost"


# patients


def _patients(before: View, after: View) -> Iterator[Verdict]:
    known = {frozenset(_numbers(after, pid)): pid for pid in after.patients}
    pairs = zip_longest(before.patients, after.patients)
    for n, (pid, other) in enumerate(pairs):
        if pid is None:
            continue
        numbers = _numbers(before, pid)
        if n >= len(after.patients) or len(before.patients) != len(after.patients):
            other = known.get(frozenset(numbers))
        if other is None:
            continue  # the same patient again: one resource
        yield from _numbers_kept(before, pid, numbers, after, other)
        yield from _names(before, pid[5], after, other[5])
        if said := before.first(pid[7]):
            yield "PID-7", time_kept(said, after.first(other[7]))
        if said := before.first(pid[8]):
            yield "PID-8", _sex(said, after.first(other[8]))
        yield from _addresses(before, pid, after, other)


def _numbers(view: View, pid: Segment) -> list[tuple[str, str]]:
    found = []
    for n, kind in ((2, ""), (3, ""), (4, ""), (18, "AN"), (19, "SS"), (20, "DL")):
        for raw in view.repetitions(pid[n]):
            parts = view.components(raw)
            if parts[0]:
                found.append((parts[0], parts[4] or kind))
    return found


def _numbers_kept(
    before: View, pid: Segment, numbers: list[tuple[str, str]], after: View, other: Segment
) -> Iterator[Verdict]:
    there = _numbers(after, other)
    for value, kind in numbers:
        if (value, kind) in there:
            yield "PID-3", "kept"
        else:
            yield "PID-3", "doubled" if value in {one for one, _ in there} else "lost"


def _names(before: View, raw: str, after: View, other: str) -> Iterator[Verdict]:
    said = [_name(before, part) for part in before.repetitions(raw)]
    there = [_name(after, part) for part in after.repetitions(other)]
    for name in said:
        if any(name):
            yield "PID-5", "kept" if name in there else "lost"


def _name(view: View, raw: str) -> tuple[str, ...]:
    """Family, given names as one list, prefix, and suffix with degrees, which FHIR does not tell apart."""
    parts = view.components(raw)
    given = [parts[1], *parts[2].split()]
    suffix = " ".join(part for part in (parts[3], parts[5], parts[13]) if part)
    return view.nested(raw, 0, 1)[0], " ".join(part for part in given if part), parts[4], suffix


def _sex(said: str, there: str) -> str:
    if said == there:
        return "kept"
    return "narrowed" if SEX.get(said.upper()) == SEX.get(there) and said.upper() in SEX else "lost"


def _addresses(before: View, pid: Segment, after: View, other: Segment) -> Iterator[Verdict]:
    """The county of PID-12 is that of an address without one."""
    said = [_address(before, part, before.first(pid[12])) for part in before.repetitions(pid[11])]
    there = [_address(after, part) for part in after.repetitions(other[11])]
    for address in said:
        if any(address[:-1]):
            yield "PID-11", "kept" if address in there else "lost"


def _address(view: View, raw: str, county: str = "") -> tuple[str, ...]:
    """Lines as one text, city, state, code, country, county: of its parts the first that says something."""
    parts = view.components(raw)
    lines = [*view.nested(raw, 0)[:3], parts[1]]
    text = ", ".join(line for line in lines if line)
    said = next((part for part in view.nested(raw, 8) if part), county)
    return text.replace(", ", " ").replace("  ", " "), *parts[2:6], said


# orders


def _order(before: View, first: Order, after: View, second: Order) -> Iterator[Verdict]:
    obr, other = first.segment, second.segment
    assert obr is not None and other is not None
    for n in (2, 3):
        if said := before.first(obr[n]):
            yield f"OBR-{n}", _same(said, after.first(other[n]))
    yield from coded("OBR-4", before, before.parts(obr[4])[0], after, after.parts(other[4])[0])
    for n in (7, 8):
        if said := before.first(obr[n]):
            yield f"OBR-{n}", time_kept(said, after.first(other[n]))
    if said := before.first(obr[24]):
        yield "OBR-24", _same(said, after.first(other[24]))
    if said := before.first(obr[25]):
        yield "OBR-25", _status(said, after.first(other[25]), REPORT)
    yield from _notes(first.notes, second.notes)
    source = other[15].partition("^")[0].replace("&", "^")  # where versions before 2.5 have the specimen
    for spm, there in zip_longest(first.specimens, second.specimens):
        if spm is not None:
            again = spm[2] in before.samples and before.samples[spm[2]] != spm[4]
            before.samples.setdefault(spm[2], spm[4])
            for where, verdict in coded("SPM-4", before, spm[4], after, there[4] if there is not None else source):
                yield where, "doubled" if again and verdict == "lost" else verdict
    yield from _results(before, first.results, after, second.results, first)


def _status(said: str, there: str, table: dict[str, str]) -> str:
    if said == there:
        return "kept"
    return "narrowed" if said in table and table.get(there) == table[said] else "lost"


def _notes(said: list[str], there: list[str]) -> Iterator[Verdict]:
    """Every line of a comment, in its order; those that say nothing aside."""
    lines, left = [line.rstrip() for line in said if line.strip()], [line.rstrip() for line in there]
    position = 0
    for line in lines:
        found = line in left[position:]
        position = left.index(line, position) + 1 if found else position
        yield "NTE-3", "kept" if found else "lost"


# results


def _results(
    before: View, said: list[Result], after: View, there: list[Result], order: Order | None
) -> Iterator[Verdict]:
    said = [one for part in said for one in _documents(before, part)]
    missing = [one for one in said if before.first(one.segment[11]) == "U" and not _has_value(before, one)]
    for _ in missing:
        yield "OBX-11", "status U"
    said = [one for one in said if not any(one is other for other in missing)]
    for first, second in zip_longest(said, there):
        if first is None and order is None:
            return  # what stands behind the last order was made of another segment than OBX
        if first is None or second is None:
            yield "OBX-3", "lost"
        else:
            yield from _result(before, first, after, second)


def _documents(view: View, result: Result) -> list[Result]:
    """A result of several documents is one result a document."""
    repetitions = view.repetitions(result.segment[5])
    if view.first(result.segment[2]) not in ("ED", "RP") or len(repetitions) < 2:
        return [result]
    return [Result(result.segment, [raw]) for raw in repetitions[:-1]] + [
        Result(result.segment, repetitions[-1:], result.notes)
    ]


def _has_value(view: View, result: Result) -> bool:
    return any(view.text(value).strip() for value in result.values)


def _result(before: View, first: Result, after: View, second: Result) -> Iterator[Verdict]:
    obx, other = first.segment, second.segment
    yield from coded("OBX-3", before, before.parts(obx[3])[0], after, after.parts(other[3])[0])
    sub, there = before.text(obx[4]).strip(), after.text(other[4]).strip()
    if sub or there:
        yield "OBX-4", "filled" if not sub else _same(sub, there)
    if _has_value(before, first):
        yield "OBX-5", value_kept(before, first, after, second)
    if any(before.components(obx[6])):
        yield from coded("OBX-6", before, obx[6], after, other[6])
    if said := before.text(obx[7]).strip():
        yield "OBX-7", _same(said, after.text(other[7]).strip())
    yield from _flags(before, obx[8], after, other[8])
    if said := before.first(obx[11]):
        yield "OBX-11", _status(said, after.first(other[11]), STATUS)
    if said := before.first(obx[14]):
        yield "OBX-14", time_kept(said, after.first(other[14]))
    elif after.first(other[14]):
        yield "OBX-14", "filled"
    yield from _notes(first.notes, second.notes)


def _flags(before: View, raw: str, after: View, other: str) -> Iterator[Verdict]:
    there = [_flag(after, part) for part in after.repetitions(other)]
    for part in before.repetitions(raw):
        if flag := _flag(before, part):
            whole = " ".join(one for one in before.components(part)[:2] if one)
            yield "OBX-8", "kept" if flag in there else "text only" if whole in there else "lost"


def _flag(view: View, raw: str) -> str:
    """The code of a flag; of one without a code its words."""
    parts = view.components(raw)
    return " ".join(parts[0].split()) or parts[1] or parts[3] or parts[4] or parts[8]


# values


def value_kept(before: View, first: Result, after: View, second: Result) -> str:
    """Whether OBX-5 says the same; `none` where it never followed its type and came back as the text it was."""
    kind, there = before.first(first.segment[2]), after.first(second.segment[2])
    said, left = first.values, second.values
    if kind in ("ED", "RP"):
        return _document(before, said[0], after, left[0])
    if kind in CODED and there in CODED:
        pairs = zip_longest(before.repetitions(said[0]), after.repetitions(left[0]), fillvalue="")
        found = [verdict for one, two in pairs for _, verdict in coded("OBX-5", before, one, after, two)]
        return next((verdict for verdict in ("lost", "text only") if verdict in found), "kept")
    if there in ("ST", "FT") and kind in (*NUMBERS, *TIMES, *CODED):
        return (
            "none"
            if _whole(before, said) == _whole(after, left) or _glued(before, said) == _whole(after, left)
            else "lost"
        )
    if there in TIMES and kind in TIMES:
        return time_kept(before.first(said[0]), after.first(left[0]))
    if kind in NUMBERS and there in NUMBERS:
        return _same(_numbers_of(before, said[0], kind), _numbers_of(after, left[0], there))
    if kind == "TM" and there == "TM":
        return _same(before.first(said[0]).ljust(6, "0"), after.first(left[0]))
    if kind == "DR" and there == "DR":
        pairs = zip(before.components(said[0])[:2], after.components(left[0])[:2], strict=True)
        return "kept" if all(time_kept(one, two) == "kept" for one, two in pairs if one) else "lost"
    return _same(_whole(before, said), _whole(after, left))


def _whole(view: View, values: list[str]) -> str:
    return "\n".join(line for value in values for line in view.lines(value)).strip()


def _glued(view: View, values: list[str]) -> str:
    return "".join(view.components(values[0])).strip()


def _numbers_of(view: View, raw: str, kind: str) -> list[list[str]]:
    """Each repetition as comparator, number, sign between, number; signs and leading zeros aside."""
    found = []
    for part in view.repetitions(raw):
        parts = view.components(part)
        if kind in ("NM", "CQ"):
            parts = ["", parts[0], "", ""]
        elif kind == "NR":
            parts = ["", parts[0], "-", parts[1]]
        comparator = "" if parts[0] == "=" else parts[0]
        mark = ":" if parts[2] == "/" else parts[2]
        found.append([comparator, plain(parts[1]), mark, plain(parts[3])])
    return found


def plain(text: str) -> str:
    """A number without plus sign, leading zeros and a bare point; all other digits stay."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text.removeprefix("+"))
    whole, _, fraction = digits.partition(".")
    whole = whole.lstrip("0") or ("0" if digits else "")
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def _document(before: View, raw: str, after: View, other: str) -> str:
    said, there = before.components(raw), after.components(other)
    if said[3] and not said[4]:
        return "none"
    if said[0] and not said[4]:
        return _same(said[0], there[0])
    data = "".join(said[4].split())
    if data == there[4]:
        return "kept"
    try:
        decoded = base64.b64decode(there[4]).decode(errors="replace")
    except ValueError:
        return "lost"
    mark = before.message.separators.component
    whole = mark.join(raw.split(mark)[4:]).rstrip(mark) if mark else raw
    original = before.text(whole)
    return "kept" if decoded == original or base64.b64decode(there[4]).hex() == original.lower() else "lost"


# codes and times


def coded(name: str, before: View, raw: str, after: View, other: str) -> Iterator[Verdict]:
    """A coded field: its codings in their order, then the first words that it says."""
    said, there = codings(before, raw), codings(after, other)
    words, words_there = _words(before, raw), _words(after, other)
    if not said and not words:
        return
    if [one[:2] for one in said] != [one[:2] for one in there]:
        yield name, "lost"
    elif any(one[2] and one[2] != two[2] for one, two in zip(said, there, strict=True)):
        yield name, "text only" if len(words) > 1 else "lost"
    elif words and words[0] not in words_there:
        yield name, "lost"
    elif [word for word in words if word not in words_there]:
        yield name, "text only"
    else:
        yield name, "kept"


def codings(view: View, raw: str) -> list[tuple[str, str, str]]:
    """Code, system and display of every coding."""
    parts = view.components(raw)
    found = []
    for code, display, system in ((0, 1, 2), (3, 4, 5), (9, 10, 11)):
        if parts[code]:
            shown = parts[display] if parts[display] != parts[code] else ""
            found.append((" ".join(parts[code].split()), _system(parts[system]), shown))
    return found


def _words(view: View, raw: str) -> list[str]:
    parts = view.components(raw)
    found = [parts[8], parts[1], parts[4], parts[10]]
    return list(dict.fromkeys(word for word in found if word and word not in (parts[0], parts[3])))


def _system(name: str) -> str:
    """A coding system by what it is, whatever a sender calls it."""
    return SYSTEMS.get(name, name).removeprefix("urn:oid:")


def time_kept(said: str, there: str) -> str:
    """Digits and offset; what is no time, and an hour without minutes, is not one that FHIR can hold."""
    digits, offset = _time(said)
    found, found_offset = _time(there)
    if said == there:
        return "kept"
    body, _, fraction = digits.partition(".")
    if (
        not body.isascii()
        or not body.isdigit()
        or len(body) not in (4, 6, 8, 12, 14)
        or (fraction and len(body) != 14)
        or len(fraction) > 4
    ):
        return "none"
    if not _exists(body):
        return "none"
    wanted = body + "00" if len(body) == 12 else body
    wanted += f".{fraction}" if fraction else ""
    same = found == wanted and (not offset or offset == found_offset)
    cut = len(body) > 8 and found == body[:8] and not offset
    return "kept" if same else "none" if cut and not found_offset and said == there else "lost"


def _time(text: str) -> tuple[str, str]:
    for sign in "+-":
        digits, found, offset = text.partition(sign)
        if found:
            stated = len(offset) == 4 and offset.isdigit()
            return (digits, sign + offset) if stated else (text, "")
    return (text[:-1], "+0000") if text.endswith("Z") else (text, "")


def _exists(digits: str) -> bool:
    from datetime import date

    try:
        date(int(digits[:4]), int(digits[4:6] or 1), int(digits[6:8] or 1))
    except ValueError:
        return False
    return digits[8:10] <= "23" and digits[10:12] <= "59" and digits[12:14] <= "59"


# other messages than results

OTHERS: dict[str, tuple[str, ...]] = {
    "ADT": ("PV1-2", "PV1-19", "PV1-44 time", "PV1-45 time"),
    "MDM": ("TXA-12", "TXA-17", "TXA-6 time"),
    "OML": ("OBR-2", "OBR-4 coded"),
    "ORM": ("OBR-2", "OBR-4 coded"),
    "OMP": ("RXO-1 coded",),
    "RDE": ("RXE-2 coded",),
    "VXU": ("RXA-3 time", "RXA-5 coded", "RXA-15"),
}
"""By message type the fields beside those of PID that must come back; the n-th segment is compared with the n-th."""


def compare_other(before: View, after: View, kind: str) -> Iterator[Verdict]:
    """Every field of the lists that the message had, and what became of it."""
    yield from _patients(before, after)
    for wanted in OTHERS[kind]:
        name, _, how = wanted.partition(" ")
        segment, _, number = name.partition("-")
        said = [one[int(number)] for one in before.message.segments if one.name == segment]
        there = [one[int(number)] for one in after.message.segments if one.name == segment]
        for first, second in zip_longest(said, there, fillvalue=""):
            text = before.first(first)
            if how == "coded":
                yield from coded(name, before, before.parts(first)[0], after, after.parts(second)[0])
            elif text:
                yield name, time_kept(text, after.first(second)) if how else _same(text, after.first(second))
