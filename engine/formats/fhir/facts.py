"""The facts of a FHIR message: what `when` and searches may ask, each worked out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from engine.formats.fhir.bundles import Entry, Json, child, codes, entries, focus, objects, place, subjects, text

#: The closed list, and what each one is.
FACTS: dict[str, str] = {
    "resource": "resource type of every resource in the message",
    "bundle": "type of the Bundle; `none` for a single resource",
    "focus": "what the message is about: of several resource types the leading one",
    "method": "method of every request in a Bundle: POST, PUT, PATCH, DELETE",
    "event": "code of MessageHeader.event",
    "tag": "code of every meta.tag",
    "security": "code of every meta.security label",
    "profile": "every meta.profile",
    "source": "every meta.source",
    "status": "status of every report, result, order and other event",
    "code": "code of every report, result and order",
    "category": "category of every report, result and order",
    "abnormal": "every interpretation of any result, its components included",
    "patient_class": "class of every encounter: IMP, AMB, EMER and so on",
    "other_patient_authority": "`none` where a patient is named by no identifier",
    "social_security": "every identifier in a social security system",
}
_EVENTS = frozenset({"Patient", "Practitioner", "PractitionerRole", "Organization", "Location", "Device",
                     "RelatedPerson", "Bundle", "MessageHeader"})  # fmt: skip
_SOCIAL_SECURITY = frozenset({"http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1"})


class Facts(Mapping[str, tuple[str, ...]]):
    """The facts of `FACTS`. They may hold PHI: never log them."""

    __slots__ = ("_entries", "_known", "_message")

    def __init__(self, message: Json) -> None:
        self._message = message
        self._entries: tuple[Entry, ...] | None = None
        self._known: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = tuple(dict.fromkeys(filter(None, self._find(name))))
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def __repr__(self) -> str:
        return "<Facts>"

    def _find(self, name: str) -> Iterator[str]:
        if name in _OF_MESSAGE:
            return _OF_MESSAGE[name](self._message)
        if self._entries is None:
            self._entries = tuple(entries(self._message))
        find = _OF_ENTRY[name]
        return (value for entry in self._entries for value in find(entry))


def _bundle(message: Json) -> Iterator[str]:
    yield text(message, "type") if message.get("resourceType") == "Bundle" else "none"


def _focus(message: Json) -> Iterator[str]:
    yield focus(message)


def _meta_of(name: str) -> Callable[[Json], Iterator[str]]:
    """Codes in the meta of the message and of every resource in it."""

    def find(message: Json) -> Iterator[str]:
        for resource in (message, *(entry.resource for entry in entries(message))):
            yield from codes(child(resource, "meta"), name)

    return find


def _profiles(message: Json) -> Iterator[str]:
    for resource in (message, *(entry.resource for entry in entries(message))):
        found = child(resource, "meta").get("profile")
        yield from (each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def _sources(message: Json) -> Iterator[str]:
    for resource in (message, *(entry.resource for entry in entries(message))):
        yield text(child(resource, "meta"), "source")


def _status(entry: Entry) -> Iterator[str]:
    if text(entry.resource, "resourceType") not in _EVENTS:
        yield text(entry.resource, "status")


def _abnormal(entry: Entry) -> Iterator[str]:
    for element in (entry.resource, *objects(entry.resource, "component")):
        yield from codes(element, "interpretation")


def _event(entry: Entry) -> Iterator[str]:
    if entry.resource.get("resourceType") == "MessageHeader":
        yield from codes(entry.resource, "eventCoding")
        yield from codes(entry.resource, "event")
        yield text(entry.resource, "eventUri")


def _class(entry: Entry) -> Iterator[str]:
    if entry.resource.get("resourceType") == "Encounter":
        yield from codes(entry.resource, "class")


def _nameless(message: Json) -> Iterator[str]:
    """Patients without an identifier: held here, or referred to elsewhere by their place only."""
    held = tuple(entries(message))
    inside = {entry.url for entry in held} | {place(entry.resource) for entry in held}
    for entry in held:
        if entry.resource.get("resourceType") == "Patient" and not objects(entry.resource, "identifier"):
            yield "none"
        for reference in subjects(entry.resource):
            if "Patient/" in (where := text(reference, "reference")) and where not in inside:
                yield "" if objects(reference, "identifier") else "none"


def _social_security(entry: Entry) -> Iterator[str]:
    for identifier in objects(entry.resource, "identifier"):
        if text(identifier, "system") in _SOCIAL_SECURITY or "SS" in codes(identifier, "type"):
            yield text(identifier, "value")


_OF_MESSAGE: Mapping[str, Callable[[Json], Iterator[str]]] = {
    "bundle": _bundle,
    "focus": _focus,
    "tag": _meta_of("tag"),
    "security": _meta_of("security"),
    "profile": _profiles,
    "source": _sources,
    "other_patient_authority": _nameless,
}
_OF_ENTRY: Mapping[str, Callable[[Entry], Iterator[str]]] = {
    "resource": lambda entry: iter((text(entry.resource, "resourceType"),)),
    "method": lambda entry: iter((text(entry.request, "method"),)),
    "event": _event,
    "status": _status,
    "code": lambda entry: codes(entry.resource, "code"),
    "category": lambda entry: codes(entry.resource, "category"),
    "abnormal": _abnormal,
    "patient_class": _class,
    "social_security": _social_security,
}
