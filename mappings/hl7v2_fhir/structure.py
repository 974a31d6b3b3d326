"""The groups of a message: which note, specimen, result and other segment belongs to which order and patient.

One pass in the message's own order; nothing is dropped: a note belongs to the segment before it, a result after a
specimen is the specimen's, a result before any order is the patient's, and so is any other segment.
"""

from __future__ import annotations

from operator import itemgetter

from engine.formats.hl7v2 import Message
from mappings.hl7v2_fhir.reading import PADDING, Row

#: An OBX that ends with its time (OBX-14) or before it, as most do, is padded to just this length, which says so: one
#: with more fields is longer. No builder asks for a later field of an OBX or NTE than OBX-26.
SHORT = 27
_TIMED = 15
_TAILS = tuple(PADDING[: SHORT - n] for n in range(_TIMED + 1))

_TEXT = ("TX", "FT")
_same = itemgetter(2, 3, 4, 6, 7, 8, 11, 14, 15, 23)
"""The OBX fields that two lines of one text share."""


class Noted:
    """A segment with the notes that follow it. `number` counts segments of its name in the message, from 1."""

    __slots__ = ("details", "name", "notes", "number", "row")

    def __init__(self, row: Row, number: int, name: str = "") -> None:
        self.row = row
        self.number = number
        self.name = name
        self.notes: list[Row] = []
        self.details: list[Noted] = []  # of an ORC: what stands between it and its request

    def take_notes(self) -> list[Row]:
        """The notes, for a builder that writes them: what is left behind goes to the patient or order."""
        notes, self.notes = self.notes, []
        return notes

    @property
    def where(self) -> str:
        """Where the segment stands, as analysts write it."""
        return f"{self.name}[{self.number}]"


class Result(Noted):
    """One OBX; for a text that goes on in the next OBX, `more` are its other lines."""

    __slots__ = ("more", "specimen")
    name = "OBX"

    def __init__(self, row: Row, number: int, specimen: Noted | None) -> None:
        self.row = row
        self.number = number
        self.specimen = specimen
        self.notes: list[Row] = []
        self.more: list[str] | None = None

    @property
    def values(self) -> list[str]:
        """OBX-5 of every line."""
        return [self.row[5], *(self.more or ())]


class Order(Noted):
    """One request (OBR, RXO, RXE and so on) or document (TXA) with its ORC, specimens, results and details."""

    __slots__ = ("orc", "results", "specimens")

    def __init__(self, row: Row, number: int, orc: Noted | None, name: str = "OBR") -> None:
        super().__init__(row, number, name)
        self.orc = orc
        self.results: list[Result] = []
        self.specimens: list[Noted] = []


class Person(Noted):
    """One PID with its visit, orders, the results that stand before any order, and every other segment (`details`)."""

    __slots__ = ("controls", "orders", "results", "specimens", "visit")

    def __init__(self, row: Row, number: int) -> None:
        super().__init__(row, number, "PID")
        self.visit: Noted | None = None
        self.orders: list[Order] = []
        self.results: list[Result] = []
        self.controls: list[Noted] = []  # each ORC that no request follows
        self.specimens: list[Noted] = []  # those of no order

    @property
    def is_preface(self) -> bool:
        """True for what stands before the first PID, as long as it is nothing but details and notes."""
        said = self.number or self.orders or self.results or self.controls or self.specimens
        return not (said or self.visit)


class _Walk:
    """Where the pass stands."""

    __slots__ = (
        *("controls", "early", "last", "orc", "order", "owner", "people", "samples", "specimen", "specimen_first"),
    )

    def __init__(self, specimen_first: bool) -> None:
        self.specimen_first = specimen_first
        self.people: list[Person] = []
        self.owner: Noted | None = None
        self.last: Result | None = None
        self.orc: Noted | None = None
        self.controls: list[tuple[Person, Noted]] = []
        self.order: Order | None = None
        self.specimen: Noted | None = None
        self.early: list[Noted] = []
        self.samples: list[tuple[Person, Noted]] = []  # those that stood before an order

    def person(self) -> Person:
        """The patient of now; one without fields where a message has no PID."""
        if not self.people:
            self.people.append(Person(PADDING, 0))
        return self.people[-1]

    def pid(self, row: Row, number: int) -> None:
        """A patient; what stood before the first one (SCH, EVN) is this one's."""
        self.owner = person = Person(row, number)
        if len(self.people) == 1 and self.people[0].is_preface:
            preface = self.people.pop()
            person.details, person.notes = preface.details, preface.notes
        self.people.append(person)
        self.orc = self.order = self.specimen = None

    def pv1(self, row: Row, number: int) -> None:
        """The first visit is the patient's; another one (A45) is a detail."""
        person = self.person()
        self.owner = visit = Noted(row, number, "PV1")
        if person.visit is None:
            person.visit = visit
        else:
            person.details.append(visit)

    def control(self, row: Row, number: int) -> None:
        """ORC stands before its OBR, in OUL after it: then the OBR has none and no result yet."""
        self.owner = orc = Noted(row, number, "ORC")
        self.controls.append((self.person(), orc))
        order = self.order
        if order is not None and order.orc is None and self.early and not order.results:
            order.orc = orc
        else:
            self.orc, self.order = orc, None

    def request(self, row: Row, number: int) -> None:
        self.owner = self.order = order = Order(row, number, self.orc)
        order.specimens += self.early
        if not self.specimen_first:
            self.early = []
        self.specimen = None
        self.person().orders.append(order)

    def medication(self, row: Row, number: int, name: str) -> None:
        """RXO, RXE, RXD, RXG and RXA of one ORC are one order; a second RXA is another one."""
        order = self.order
        first = order is None or order.name not in MEDICATION or order.orc is not self.orc
        if order is None or first or name in (order.name, *(detail.name for detail in order.details)):
            self._open(Order(row, number, self.orc, name))
        else:
            self.other(row, number, name)

    def document(self, row: Row, number: int) -> None:
        """TXA: the results and notes that follow are the document."""
        self._open(Order(row, number, None, "TXA"))

    def _open(self, order: Order) -> None:
        self.owner = self.order = order
        self.specimen = None
        self.person().orders.append(order)

    def other(self, row: Row, number: int, name: str) -> None:
        """Any other segment is a detail of the request that is open, of the ORC before it, else of the patient.

        A container is one of the specimen before it.
        """
        found = Noted(row, number, name)
        owner = self.specimen if name == "SAC" else None
        (owner or self.order or self.orc or self.person()).details.append(found)
        if name not in _WITHOUT_NOTES:
            self.owner = found

    def sample(self, row: Row, number: int) -> None:
        self.owner = self.specimen = specimen = Noted(row, number, "SPM")
        if self.specimen_first or self.order is None:
            if self.order is not None:
                self.early, self.order, self.orc = [], None, None
            self.early.append(specimen)
            self.samples.append((self.person(), specimen))
        else:
            self.order.specimens.append(specimen)

    def goes_on(self, row: Row) -> bool:
        """True when a text is the next line of the one before it, which then has it."""
        last = self.last
        if last is None or _same(row) != _same(last.row):
            return False
        last.more = last.more or []
        last.more.append(row[5])
        return True

    def note(self, row: Row) -> None:
        (self.owner or self.person()).notes.append(row)

    def finish(self) -> None:
        """An ORC that no request follows is the patient's, and so is a specimen of no order."""
        if self.samples:
            used = {id(spm) for person in self.people for order in person.orders for spm in order.specimens}
            for person, spm in self.samples:
                if id(spm) not in used:
                    person.specimens.append(spm)
        if self.controls:
            taken = {id(order.orc) for person in self.people for order in person.orders}
            for person, orc in self.controls:
                if id(orc) not in taken:
                    person.controls.append(orc)


def kind_of(message: Message) -> str:
    """The type of a message, MSH-9.1."""
    header = message.rows[0]
    whole = header[9] if len(header) > 9 else ""
    return whole[:3] if whole[3:4] == message.separators.component else message.segments[0].components(9)[0]


def _specimens_lead(message: Message) -> bool:
    """True where orders follow the specimen that they are for: OUL, and orders of the structures O33, O35 and O39."""
    kind = kind_of(message)
    if kind not in ("OML", "ORL"):
        return kind == "OUL"
    return next((name for name in message.names if name in ("SPM", "OBR")), "") == "SPM"


def structure(message: Message) -> list[Person]:
    """The patients of a message with all that belongs to them."""
    walk = _Walk(specimen_first=_specimens_lead(message))
    counts: dict[str, int] = {}
    results = 0
    for name, row in zip(message.names, message.rows, strict=True):
        if name == "OBX":
            results += 1
            row = row + _TAILS[min(len(row), _TIMED)]
            if row[2] not in _TEXT or not walk.goes_on(row):
                walk.owner = walk.last = found = Result(row, results, walk.specimen)
                (walk.order or walk.person()).results.append(found)
        elif name == "NTE":
            walk.last = None
            walk.note(row + _TAILS[0])
        elif name:
            walk.last = None
            counts[name] = number = counts.get(name, 0) + 1
            if take := _GROUPS.get(name):
                take(walk, row + PADDING, number)
            elif name in MEDICATION:
                walk.medication(row + PADDING, number, name)
            elif name not in _ENVELOPE:
                walk.other(row + PADDING, number, name)
    walk.finish()
    return walk.people


MEDICATION = frozenset({"RXO", "RXE", "RXD", "RXG", "RXA"})
_WITHOUT_NOTES = frozenset({"CTD", "CTI", "EVN", "PD1", "PRT", "PV2", "ROL", "TQ1", "TQ2"})
"""A note behind one of these is about the segment before them: OBX, PRT, NTE (HL7 v2.7, 7.3.1)."""
_ENVELOPE = frozenset({"MSH", "SFT", "UAC", "DSC", "BHS", "BTS", "FHS", "FTS"})
_GROUPS = {"PID": _Walk.pid, "PV1": _Walk.pv1, "ORC": _Walk.control, "OBR": _Walk.request, "SPM": _Walk.sample,
           "TXA": _Walk.document}  # fmt: skip
