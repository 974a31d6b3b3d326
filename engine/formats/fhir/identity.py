"""What a FHIR message says of itself: type, number, sender, patients and orders, without judging whether it is valid.

Order keys come from business identifiers where a message has them, and from literal references (`Patient/17`) only
where it has none; what a Bundle refers to inside of itself is looked up there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.formats.fhir.bundles import Entry, Json, child, codes, entries, focus, objects, place, subjects, text
from engine.formats.fhir.facts import Facts
from engine.model import Identifier, Identity

V2_0103 = "http://terminology.hl7.org/CodeSystem/v2-0103"  # processing id: P, T, D
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"  # HTEST: test health data
#: The system of invented patients' identifiers; a sender-scoped one of that name counts, too.
SYNTHETIC_SYSTEM = "https://interlock.example/authority/test"
SYNTHETIC = "INTERLOCK-TEST"
_SCOPED = "urn:interlock:authority:"
_ORDERED = ("DiagnosticReport", "ServiceRequest", "MedicationRequest", "Task", "Observation")
_PLACED = frozenset({"ServiceRequest", "MedicationRequest", "Task"})
_STATES = frozenset({"PUT", "PATCH", "DELETE"})


def identify(message: Json, version: str = "") -> Identity:
    """Routing keys and facts of a message that was read."""
    held = tuple(entries(message))
    head = next((e.resource for e in held if e.resource.get("resourceType") == "MessageHeader"), {})
    own = {e.url: e.resource for e in held if e.url} | {place(e.resource): e.resource for e in held}
    ended = _ended(held, own)
    return Identity(
        format="fhir",
        type=_type(message),
        control_id=_control_id(message, head),
        sender=_sender(message, head),
        receiver=_receiver(head),
        sent_at=text(message, "timestamp") or text(child(message, "meta"), "lastUpdated"),
        version=version,
        processing=_processing(message, held),
        patients=_patients(held, own, ended),
        prior_patients=ended,
        orders=_orders(held),
        barrier=bool(ended),
        facts=Facts(message),
        restates=_restates(message, held),
    )


def _type(message: Json) -> str:
    kind = text(message, "resourceType")
    if kind != "Bundle":
        return kind
    return "/".join(filter(None, (kind, text(message, "type") or "-", focus(message))))


def _control_id(message: Json, head: Json) -> str:
    """What its sender calls it: the Bundle's identifier, the header's id, or one version of one resource."""
    if message.get("resourceType") == "Bundle":
        return text(child(message, "identifier"), "value") or text(head, "id")
    version = text(child(message, "meta"), "versionId")
    return f"{place(message)}/_history/{version}" if version and text(message, "id") else ""


def _sender(message: Json, head: Json) -> tuple[str, str]:
    source = child(head, "source")
    application = text(source, "name") or text(source, "endpoint") or text(child(message, "meta"), "source")
    identifier = child(message, "identifier") if message.get("resourceType") == "Bundle" else {}
    return application, text(identifier, "system")


def _receiver(head: Json) -> tuple[str, str]:
    destination = next(iter(objects(head, "destination")), {})
    return text(destination, "name"), text(destination, "endpoint")


def _processing(message: Json, held: Iterable[Entry]) -> str:
    """T or D where any resource says that it is no production data; P only where one says so."""
    found: set[str] = set()
    for resource in (message, *(entry.resource for entry in held)):
        meta = child(resource, "meta")
        for coding in (*objects(meta, "tag"), *objects(meta, "security")):
            if text(coding, "system") == ACT_REASON and text(coding, "code") == "HTEST":
                found.add("T")
            elif text(coding, "system") == V2_0103:
                found.add(text(coding, "code"))
    return next((code for code in ("T", "D", *sorted(found)) if code in found), "")


def _restates(message: Json, held: Iterable[Entry]) -> bool:
    """True when anything in it says how something stands now, which the next message may undo and a later restore."""
    if message.get("resourceType") != "Bundle":
        return bool(text(message, "id"))
    return any(text(entry.request, "method") in _STATES for entry in held)


def _patients(held: tuple[Entry, ...], own: dict[str, Json], ended: tuple[Identifier, ...]) -> tuple[Identifier, ...]:
    """Every identifier of every patient that it holds, else what its results and orders refer to."""
    found: dict[Identifier, None] = {}
    for entry in held:
        if entry.resource.get("resourceType") == "Patient":
            found.update(dict.fromkeys(_identifiers(entry.resource)))
    references = [reference for entry in held for reference in subjects(entry.resource)]
    for reference in references:
        found.update(dict.fromkeys(_identifiers(reference)))
    if not found:
        resolved = (_referred(reference, own) for reference in references)
        found.update(dict.fromkeys(each for one in resolved for each in one))
    if not found:
        found.update(dict.fromkeys(_literal(place(e.resource)) for e in held if _is_patient(e)))
    return tuple(identifier for identifier in found if identifier not in ended)


def _is_patient(entry: Entry) -> bool:
    return entry.resource.get("resourceType") == "Patient" and bool(text(entry.resource, "id"))


def _referred(reference: Json, own: dict[str, Json]) -> tuple[Identifier, ...]:
    """The identifiers of the patient that is referred to, else the literal reference, as far as it names one."""
    if found := tuple(_identifiers(reference)):
        return found
    where = text(reference, "reference")
    if where in own:
        return tuple(_identifiers(own[where])) or (_literal(place(own[where])),)
    where = where.partition("/_history/")[0]
    return (_literal(where),) if "Patient/" in where else ()


def _literal(where: str) -> Identifier:
    """`Patient/17` or `https://ehr.example/fhir/Patient/17`: the number and whose it is."""
    base, _, number = where.rpartition("/")
    return Identifier(number, base)


def _identifiers(element: Json) -> Iterator[Identifier]:
    for identifier in objects(element, "identifier"):
        if value := text(identifier, "value"):
            yield Identifier(value, authority(text(identifier, "system")), next(codes(identifier, "type"), ""))


def authority(system: str) -> str:
    """A system as the engine compares authorities; a name that a sender gave stands first, as in CX-4."""
    if system == SYNTHETIC_SYSTEM:
        return f"{SYNTHETIC}&{system}&URI"
    if system.startswith(_SCOPED):
        return f"{system.rpartition(':')[2]}&{system}&URI"
    return system


def _ended(held: tuple[Entry, ...], own: dict[str, Json]) -> tuple[Identifier, ...]:
    """The identities that a merge ends: of a patient that another replaces (Patient.link, R4 8.1.3)."""
    found: dict[Identifier, None] = {}
    for entry in held:
        if entry.resource.get("resourceType") != "Patient":
            continue
        for link in objects(entry.resource, "link"):
            if text(link, "type") == "replaces":
                found.update(dict.fromkeys(_referred(child(link, "other"), own)))
            elif text(link, "type") == "replaced-by":
                found.update(dict.fromkeys(_identifiers(entry.resource) if len(held) > 1 else ()))
    return tuple(found)


def _orders(held: tuple[Entry, ...]) -> tuple[Identifier, ...]:
    """Order numbers, the filler's before the placer's; an identifier without a type is its owner's."""
    fillers: dict[Identifier, None] = {}
    placers: dict[Identifier, None] = {}
    ranked = sorted(held, key=_rank)
    for entry in ranked:
        kind = text(entry.resource, "resourceType")
        if kind not in _ORDERED:
            continue
        based = [each for reference in objects(entry.resource, "basedOn") for each in _identifiers(reference)]
        for identifier in (*_identifiers(entry.resource), *based):
            untyped = "PLAC" if kind in _PLACED or identifier in based else "FILL"
            placed = (identifier.type if identifier.type in ("PLAC", "FILL") else untyped) == "PLAC"
            role = "PLAC" if placed else "FILL"
            (placers if placed else fillers)[Identifier(identifier.value, identifier.authority, role)] = None
    return (*fillers, *placers)


def _rank(entry: Entry) -> int:
    kind = text(entry.resource, "resourceType")
    return _ORDERED.index(kind) if kind in _ORDERED else len(_ORDERED)
