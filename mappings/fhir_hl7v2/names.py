"""HumanName, Address, ContactPoint, Practitioner and Organization as XPN, XAD, XTN, XCN and XON."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mappings.fhir_hl7v2.clock import period
from mappings.fhir_hl7v2.identifiers import NO_NUMBER, Number, number, numbers
from mappings.fhir_hl7v2.leaves import joined, leaf, leaves, placed, repeated
from mappings.fhir_hl7v2.vocabulary import inverse
from mappings.fhir_hl7v2.writing import Json, Writing
from mappings.hl7v2_fhir.vocabulary import STANDARD

_FAMILY_PARTS = ("own-prefix", "own-name", "partner-prefix", "partner-name")  # FN.2 to FN.5

#: Degrees of HL7 table 0360 that stand in XPN.6; any other suffix (III, Jr) stands in XPN.4.
_DEGREES = frozenset(
    (
        *("AAS", "ARNP", "BA", "BN", "BS", "BSN", "CNM", "CNP", "CNS", "CRN", "DDS", "DO", "DMD", "DPM", "EMT", "JD"),
        *("MA", "MBA", "MD", "MDA", "ME", "MS", "MSN", "NP", "OD", "PA", "PHARMD", "PHD", "PHE", "PHS", "PT", "RN"),
        *("RPH", "RMA", "RPT", "VMD"),
    )
)

#: A telephone number as the other direction composes it of XTN.5 to XTN.8.
_COMPOSED = re.compile(r"(?:\+([0-9]{1,3}) )?\(([0-9]{1,5})\) ([0-9][0-9-]{3,})(?: x([0-9]{1,6}))?", re.ASCII)


def person_name(w: Writing, name: Json) -> list[str]:
    """XPN.1 to XPN.6 of a name; six empty ones when it says nothing."""
    family = leaves((w.text(name, "family"), *_family_parts(w, name)), "&")
    given = w.texts(name, "given")
    suffix, degree = _suffixes(w.texts(name, "suffix"))
    words = [family, leaf(given[0]) if given else "", leaf(" ".join(given[1:])), leaf(suffix)]
    words += [leaf(" ".join(w.texts(name, "prefix"))), leaf(degree)]
    if any(words):
        w.skip(name, "text")
    elif text := w.text(name, "text"):
        words[0] = leaf(text)
    return words


def _family_parts(w: Writing, name: Json) -> list[str]:
    beside = w.beside(name, "family")
    found = []
    for part in _FAMILY_PARTS:
        values = [w.text(extension, "valueString") for extension in w.extension(beside, f"{STANDARD}humanname-{part}")]
        found.append("".join(values[:1]))
    return found


def _suffixes(given: Sequence[str]) -> tuple[str, str]:
    """Suffix (XPN.4) and degree (XPN.6)."""
    if len(given) > 1:
        return given[0], " ".join(given[1:])
    only = "".join(given)
    return ("", only) if only.replace(".", "").upper() in _DEGREES else (only, "")


def names(w: Writing, element: Json, name: str) -> str:
    """XPN: every name."""
    return repeated(_named(w, one) for one in w.items(element, name))


def _named(w: Writing, name: Json) -> str:
    words = person_name(w, name)
    if not any(words):
        return ""
    start, end = _valid(w, name, "2.5")
    use = leaf(inverse("name-use").get(w.text(name, "use"), ""))
    return joined((*words, use, "", "", "", "", start, end))


def _valid(w: Writing, element: Json, since: str) -> tuple[str, str]:
    """From when and to when a name, address or number holds, where the version has components for it."""
    if not w.options.since(since):
        return "", ""
    return period(w, w.item(element, "period"), "period")


def addresses(w: Writing, element: Json, name: str) -> str:
    """XAD: every address."""
    return repeated(address(w, one) for one in w.items(element, name))


def address(w: Writing, found: Json) -> str:
    """One XAD: the first line in component 1, the others in 2, the district as county."""
    lines = w.texts(found, "line")
    parts = [(1, leaf(lines[0]) if lines else ""), (2, leaf(", ".join(lines[1:])))]
    for n, name in ((3, "city"), (4, "state"), (5, "postalCode"), (6, "country"), (9, "district")):
        parts.append((n, leaf(w.text(found, name))))
    if any(text for _, text in parts):
        w.skip(found, "text")
    else:
        parts[0] = (1, leaf(w.text(found, "text")))
    use = inverse("address-use").get(w.text(found, "use"), "")
    if found.get("type") == "postal" and not use:
        use = "M"
    w.skip(found, "type")
    start, end = _valid(w, found, "2.5")
    more = [(7, leaf(use)), (13, start), (14, end)]
    return placed([*parts, *more]) if any(text for _, text in parts) else ""


def telecoms(w: Writing, element: Json, name: str, use: str = "") -> str:
    """XTN: every way to reach somebody; with `use`, those of that use only (work, or home for all others)."""
    found = [one for one in w.items(element, name) if not use or (one.get("use") == "work") is (use == "work")]
    return repeated(telecom(w, one) for one in found)


def telecom(w: Writing, contact: Json) -> str:
    """One XTN: number in components 5 to 8 where it is composed so, else in 12; before 2.6 whole in 1."""
    system = contact.get("system")
    value = w.text(contact, "value") if system in ("phone", "fax", "pager", "email", "sms", "other", None) else ""
    if not value:
        return ""
    use, kind = _use_and_kind(w, contact)
    if system == "email":
        return placed([(2, "NET"), (3, kind), (4, leaf(value))])
    start, end = _valid(w, contact, "2.7")
    parts = [(2, use), (3, kind), (13, start), (14, end)]
    whole = _COMPOSED.fullmatch(value)
    if whole:
        parts += [(n, whole[n - 4] or "") for n in range(5, 9)]
    if not w.options.since("2.6"):
        parts.append((1, leaf(value)))
    elif not whole:
        parts.append((12, leaf(value)))
    return placed(parts)


def _use_and_kind(w: Writing, contact: Json) -> tuple[str, str]:
    """XTN.2 and XTN.3. A mobile phone is PRS since 2.7, before that a residence number on a cellular phone."""
    w.skip(contact, "rank")
    system, use = w.text(contact, "system"), w.text(contact, "use")
    if use == "mobile":
        return ("PRS" if w.options.since("2.7") else "PRN"), "CP"
    kind = "CP" if system == "sms" else inverse("telecom-system").get(system, "")
    return inverse("telecom-use").get(use, ""), kind


def people(w: Writing, actors: Sequence[tuple[Json, Json]]) -> str:
    """XCN of actors, each the resource that was found and the reference to it."""
    return repeated(part for actor in actors for part in _person(w, *actor))


def _person(w: Writing, resource: Json, reference: Json) -> list[str]:
    """One XCN a number of the person; of somebody who is only named, one with the name."""
    words, known = person(w, resource, reference)
    if not known and any(words):
        return [joined(["", *words])]
    return [_identified(one, words) for one in known]


def _identified(one: Number, words: Sequence[str]) -> str:
    hd = leaves(one.authority, "&")
    return joined([leaf(one.value), *words, "", hd, "", "", "", leaf(one.kind)])


def person(w: Writing, resource: Json, reference: Json) -> tuple[list[str], list[Number]]:
    """Name (XPN.1 to 6) and numbers of a Practitioner, the Practitioner of a role, or who is only named."""
    if resource.get("resourceType") == "PractitionerRole":
        found, inner = w.target(resource, "practitioner", resource)
        words, known = person(w, found, inner)
        return words, known + [one for one in numbers(w, resource) if one not in known]
    if resource.get("resourceType") in ("Practitioner", "Patient", "RelatedPerson"):
        named = [person_name(w, name) for name in w.items(resource, "name")[:1]]
        return (named[0] if named else [""] * 6), numbers(w, resource)
    known_by = number(w, w.item(reference, "identifier"))
    shown = w.text(reference, "display")
    return [leaf(shown), *[""] * 5], [known_by] if known_by.value else []


def interpreter(w: Writing, resource: Json, reference: Json) -> str:
    """One NDL: a CNN, whose parts are sub-components."""
    words, known = person(w, resource, reference)
    one = known[0] if known else NO_NUMBER
    flat = [part.split("&")[0] for part in words]
    return joined((leaf(one.value), *flat, "", *map(leaf, one.authority)), "&") if one.value or any(flat) else ""


def organization(w: Writing, resource: Json, reference: Json) -> str:
    """One XON: name, and the first number, which stands in component 10 since 2.5 and in 3 before."""
    if resource.get("resourceType") == "Organization":
        name, known = w.text(resource, "name"), [number(w, one) for one in w.items(resource, "identifier")[:1]]
    else:
        name, known = w.text(reference, "display"), [number(w, w.item(reference, "identifier"))]
    one = known[0] if known else NO_NUMBER
    place = 10 if w.options.since("2.5") else 3
    return placed([(1, leaf(name)), (6, leaves(one.authority, "&")), (7, leaf(one.kind)), (place, leaf(one.value))])
