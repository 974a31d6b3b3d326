"""What a message says of itself, found by search and short splits, without taking the message apart.

The path asks this of every message before it answers: the cost is a few searches, linear in length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.formats.hl7v2.escapes import unescape
from engine.formats.hl7v2.lines import whole
from engine.formats.hl7v2.separators import Separators, separators_of
from engine.model import Identifier, Identity

#: The closed list of facts that `when` and searches may ask, and what each one is.
FACTS: dict[str, str] = {
    "type": "message type, MSH-9.1",
    "trigger": "trigger event, MSH-9.2",
    "sending_application": "MSH-3.1",
    "sending_facility": "MSH-4.1",
    "receiving_application": "MSH-5.1",
    "receiving_facility": "MSH-6.1",
    "processing": "processing id, MSH-11.1: P, T or D",
    "version": "HL7 version, MSH-12.1",
    "event_reason": "why it was sent, EVN-4.1",
    "other_patient_authority": "assigning authority of each identifier in PID-2, PID-4 and PID-18; `none` without one",
    "social_security": "PID-19.1",
    "patient_class": "PV1-2.1: I, O, E and so on",
    "location": "point of care of the assigned location, PV1-3.1",
    "facility": "facility of the assigned location, PV1-3.4",
    "order_control": "ORC-1.1 of every order",
    "order_code": "what was ordered, OBR-4.1 of every order",
    "section": "diagnostic service section, OBR-24.1",
    "result_status": "OBR-25.1 of every report",
    "abnormal": "every abnormal flag of any result, OBX-8.1 with its repetitions",
}

_PLACES = {
    "type": ("MSH", 9, 1),
    "trigger": ("MSH", 9, 2),
    "sending_application": ("MSH", 3, 1),
    "sending_facility": ("MSH", 4, 1),
    "receiving_application": ("MSH", 5, 1),
    "receiving_facility": ("MSH", 6, 1),
    "processing": ("MSH", 11, 1),
    "version": ("MSH", 12, 1),
    "event_reason": ("EVN", 4, 1),
    "social_security": ("PID", 19, 1),
    "patient_class": ("PV1", 2, 1),
    "location": ("PV1", 3, 1),
    "facility": ("PV1", 3, 4),
    "order_control": ("ORC", 1, 1),
    "order_code": ("OBR", 4, 1),
    "section": ("OBR", 24, 1),
    "result_status": ("OBR", 25, 1),
    "abnormal": ("OBX", 8, 1),
}

_NULL = '""'
_ABSENT = [""] * 18
_NO_PARTS = [""] * 4
_KEYED = frozenset({"PID", "MRG", "OBR", "ORC"})


def identify(raw: bytes) -> Identity:
    """Routing keys and facts.

    Raises:
        Unreadable: when the bytes are no whole single message with usable delimiters.
    """
    lines, names, charset = whole(raw)
    separators = separators_of(lines[0])
    field, component = separators.field, separators.component
    head = lines[0].split(field, 18)  # head[n - 1] is MSH-n
    if len(head) < 19:
        head += _ABSENT
    keys = _keys(lines, names, field)
    fillers = _orders(keys.fillers, "FILL", separators, charset)
    placers = _orders(keys.placers, "PLAC", separators, charset)
    return Identity(
        format="hl7v2",
        type=_type(head[8], component),
        control_id=head[9],
        sender=(head[2], head[3]),
        receiver=(head[4], head[5]),
        sent_at=head[6].partition(component)[0],
        version=head[11].partition(component)[0],
        processing=head[10].partition(component)[0],
        patients=_identifiers(keys.patients, separators, charset),
        prior_patients=_identifiers(keys.prior, separators, charset) if keys.prior else (),
        orders=fillers + placers,
        charset=head[17],
        barrier=keys.barrier,
        accept_ack=head[14],
        application_ack=head[15],
        facts=Facts(lines, separators, charset),
    )


class _Keys:
    """Fields that name patients and orders, each once, in order of appearance (dicts used as ordered sets)."""

    __slots__ = ("barrier", "fillers", "patients", "placers", "prior")

    def __init__(self) -> None:
        self.patients: dict[str, None] = {}
        self.prior: dict[str, None] = {}
        self.fillers: dict[str, None] = {}
        self.placers: dict[str, None] = {}
        self.barrier = False


def _keys(lines: list[str], names: list[str], field: str) -> _Keys:
    """One pass over the segments that hold keys."""
    keys = _Keys()
    for name, line in zip(names, lines, strict=True):
        if name not in _KEYED:
            continue
        fields = line.split(field, 4)
        if len(fields) < 4:
            fields += _NO_PARTS
        if fields[0] == "PID":
            keys.patients[fields[3] or fields[2]] = None
        elif fields[0] == "MRG":
            keys.prior[fields[1]] = None
            keys.barrier = True
        elif fields[0] == name:
            keys.placers[fields[2]] = None
            keys.fillers[fields[3]] = None
    return keys


class Facts(Mapping[str, tuple[str, ...]]):
    """The facts of `FACTS`, each worked out when it is first asked for. They may hold PHI: never log them."""

    __slots__ = ("_charset", "_known", "_lines", "_separators")

    def __init__(self, lines: list[str], separators: Separators, charset: str) -> None:
        self._lines = lines
        self._separators = separators
        self._charset = charset
        self._known: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        known = self._known.get(name)
        if known is None:
            known = self._other_authorities() if name == "other_patient_authority" else self._values(*_PLACES[name])
            self._known[name] = known
        return known

    def _other_authorities(self) -> tuple[str, ...]:
        """Whose the patient's identifiers outside of PID-3 are: one that names nobody is nobody's."""
        fields = {text: None for number in (2, 4, 18) for text in self._texts("PID", number)}
        found = _identifiers(fields, self._separators, self._charset)
        return tuple({identifier.authority.partition("&")[0] or "none": None for identifier in found})

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def __repr__(self) -> str:
        return "<Facts>"

    def _values(self, segment: str, field: int, component: int) -> tuple[str, ...]:
        """Every distinct value in every segment of that name, in order of appearance."""
        separators = self._separators
        values: dict[str, None] = {}
        for text in self._texts(segment, field):
            for repetition in text.split(separators.repetition) if separators.repetition else [text]:
                parts = repetition.split(separators.component, component)
                if len(parts) >= component and parts[component - 1] not in ("", _NULL):
                    values[unescape(parts[component - 1], separators, self._charset)] = None
        return tuple(values)

    def _texts(self, segment: str, field: int) -> dict[str, None]:
        """The distinct texts of a field in every segment of that name."""
        mark = segment + self._separators.field
        index = field - 1 if segment == "MSH" else field  # MSH-1 is the separator itself
        texts: dict[str, None] = {}
        for line in self._lines:
            if line.startswith(mark):
                fields = line.split(self._separators.field, index + 1)
                if len(fields) > index:
                    texts[fields[index]] = None
        return texts


def _type(field: str, component: str) -> str:
    kind, _, rest = field.partition(component)
    trigger = rest.partition(component)[0]
    return f"{kind}^{trigger}" if trigger else kind


def _identifiers(fields: dict[str, None], separators: Separators, charset: str) -> tuple[Identifier, ...]:
    """Every repetition of fields of type CX that has a value."""
    _, component, repetition, mark, _, _ = separators
    found = []
    for field in fields:
        for text in field.split(repetition) if repetition else [field]:
            parts = text.split(component, 5)
            value = parts[0]
            if value and value != _NULL:
                if mark in value:
                    value = unescape(value, separators, charset)
                if len(parts) < 5:
                    parts += _NO_PARTS
                found.append(Identifier(value, parts[3], parts[4]))
    return tuple(found)


def _orders(numbers: dict[str, None], kind: str, separators: Separators, charset: str) -> tuple[Identifier, ...]:
    """Fields of type EI; the authority is the namespace, or the universal id where there is no namespace."""
    _, component, repetition, mark, _, _ = separators
    found = []
    for number in numbers:
        for text in number.split(repetition) if repetition else [number]:
            value, *rest = text.split(component, 3)
            if value and value != _NULL:
                if mark in value:
                    value = unescape(value, separators, charset)
                authority = rest[0] or (rest[1] if len(rest) > 1 else "") if rest else ""
                found.append(Identifier(value, authority, kind))
    return tuple(found)
