"""The ways in which a field becomes an element: what stands under `as` in a segment map.

Each is a factory: called once with what stands under `using`, it gives the function that makes the element. None, an
empty list or an empty text says that there is nothing to write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mappings.hl7v2_fhir.datatypes.codes import concept, concepts, status_extension
from mappings.hl7v2_fhir.datatypes.identifiers import entity, extended
from mappings.hl7v2_fhir.datatypes.names import addresses, names, telecoms
from mappings.hl7v2_fhir.datatypes.quantities import composite, number, unit_of, whole
from mappings.hl7v2_fhir.datatypes.times import instant, put_date, put_time
from mappings.hl7v2_fhir.made import Beside, Factory, Made, Make, coding_constant, first, simple
from mappings.hl7v2_fhir.rare_elements import RARE_ELEMENTS
from mappings.hl7v2_fhir.reading import Reading
from mappings.hl7v2_fhir.resources.people import organization, practitioners
from mappings.hl7v2_fhir.vocabulary import (
    TERMINOLOGY,
    Json,
    absent_extension,
    codes_of,
    codings_of,
    own_text,
)


def _constant(using: str) -> Make:
    return lambda made: using


def _code(using: str) -> Make:
    """A code of a table; one that the table lacks is reported and kept beside, or with `?` behind `using` left out."""
    codes = codes_of(using.rstrip("?"))
    silent = using.endswith("?")

    def make(made: Made) -> Any:
        said = made.reading.part(made.raws[0])
        if not said or said in codes or silent:
            return codes.get(said)
        made.reading.find("code_unknown", made.where)
        return Beside({"_" + made.name: status_extension(said, "", False)})

    return make


def _code_or_unknown(using: str) -> Make:
    """A required code of a table; one that the table lacks is `unknown`, with the v2 code beside it."""
    codes = codes_of(using)

    def make(made: Made) -> Any:
        said = made.reading.part(made.raws[0])
        if not said:
            return None
        if codes.get(said):
            return codes[said]
        made.reading.find("code_unknown", made.where)
        return Beside({made.name: "unknown", "_" + made.name: status_extension(said, "", False)})

    return make


def _mapped_concept(using: str) -> Make:
    """A concept whose code a table knows in FHIR's own code system; the sender's coding stays behind it."""
    codings = codings_of(using)

    def make(made: Made) -> Any:
        said = concept(made.reading, made.raws[0].split(made.reading.repetition, 1)[0])
        known = codings.get(made.reading.part(made.raws[0]))
        if said is None or known is None:
            return said
        others = [coding for coding in said.get("coding", ()) if coding.get("system") != known["system"]]
        return {**said, "coding": [dict(known), *others]}

    return make


def _of_table(using: str) -> Make:
    """IS, ID: a bare code of the HL7 table whose number stands under `using`; with a system of its own, that one's."""
    system = TERMINOLOGY + "v2-" + using

    def make(made: Made) -> Any:
        found = []
        for raw in made.reading.repetitions(made.raws[0]):
            said = concept(made.reading, raw)
            if said and said.get("coding") and "system" not in said["coding"][0]:
                said["coding"][0] = {"system": system, **said["coding"][0]}
                if said.get("text") == said["coding"][0]["code"]:
                    del said["text"]
            if said:
                found.append(said)
        return found if made.name in _LISTS else next(iter(found), None)

    return make


_LISTS = frozenset({
    "category", "type", "relationship", "reasonCode", "specialArrangement", "specialCourtesy", "serviceCategory",
    "serviceType", "manifestation", "communication", "contentType", "statusReason",
})  # fmt: skip


def _text(reading: Reading, raw: str) -> str:
    return "\n".join(text for part in reading.repetitions(raw) if (text := reading.exact(part).strip()))


def _texts(reading: Reading, raw: str) -> list[str]:
    return [text for part in reading.repetitions(raw) if (text := reading.text(part))]


def _text_concept(reading: Reading, raw: str) -> Json | None:
    """ST as a concept of text only."""
    text = reading.part(raw)
    return {"text": text} if text else None


def _date_time(using: str) -> Make:
    def make(made: Made) -> Beside | None:
        found = Beside()
        put_time(made.reading, found, made.name, first(made), made.where)
        return found or None

    return make


def _date(using: str) -> Make:
    def make(made: Made) -> Beside | None:
        found = Beside()
        put_date(made.reading, found, made.name, made.raws[0], made.where)
        return found or None

    return make


def _instant(reading: Reading, raw: str) -> str:
    return instant(reading, raw)


def _boolean(using: str) -> Make:
    """Y and N; `using` may turn it round with `not`."""
    said = {"Y": using != "not", "N": using == "not"}

    def make(made: Made) -> Beside | None:
        value = said.get(made.reading.part(made.raws[0]))
        return Beside({made.name: value}) if value is not None else None

    return make


def _whole(using: str) -> Make:
    """A whole number from `using` (default 0) on; another one is reported and kept beside."""
    least = int(using or 0)

    def make(made: Made) -> Any:
        text = made.reading.part(made.raws[0])
        value = whole(text, least)
        if value is None and text:
            made.reading.find("number_invalid", made.where)
            return Beside({"_" + made.name: {"extension": [own_text("v2-number", text)]}})
        return Beside({made.name: value}) if value is not None else None

    return make


def _decimal(using: str) -> Make:
    """A number with its digits as they came."""

    def make(made: Made) -> Any:
        text = made.reading.part(made.raws[0])
        value = number(text)
        if value is None and text:
            made.reading.find("number_invalid", made.where)
            return Beside({"_" + made.name: {"extension": [own_text("v2-number", text)]}})
        return value

    return make


def _quantity(using: str) -> Make:
    """A number and its unit (two fields, or one CQ): value, unit, and a code where the unit names UCUM."""

    def make(made: Made) -> Json | None:
        reading, raw = made.reading, first(made)
        if len(made.raws) == 1:
            found = composite(reading, raw)
        else:
            value = number(reading.part(raw))
            found = {"value": value, **unit_of(reading, made.raws[1]).quantity} if value is not None else {}
        text = reading.part(raw)
        if text and not found:
            reading.find("number_invalid", made.where)
            return {"extension": [own_text("v2-number", text)]}
        return found or None

    return make


def _reference(people: Callable[[Reading, str], list[Json]]) -> Factory:
    """A reference to the first person of a field."""
    return lambda using: lambda made: next(iter(people(made.reading, made.raws[0])), None)


def _telecoms(using: str) -> Make:
    return lambda made: telecoms(made.reading, made.raws[0], using)


def _extended(using: str) -> Make:
    """Every CX of a field."""
    return lambda made: [
        found for raw in made.reading.repetitions(made.raws[0]) if (found := extended(made.reading, raw, using))
    ]


def _entities(using: str) -> Make:
    """Every EI of a field."""
    return lambda made: [
        found for raw in made.reading.repetitions(made.raws[0]) if (found := entity(made.reading, raw, using))
    ]


def _first_name(reading: Reading, raw: str) -> Json | None:
    found = names(reading, raw)
    return found[0] if found else None


def _first_address(reading: Reading, raw: str) -> Json | None:
    found = addresses(reading, raw)
    return found[0] if found else None


def _note(reading: Reading, raw: str) -> list[Json]:
    """A comment as an annotation."""
    text = _text(reading, raw)
    return [{"text": text}] if text else []


def _around(using: str) -> Make:
    """A reference to what is around: `patient`, `encounter`, `order`; with `!` behind it the element is required."""
    name = using.rstrip("!")
    required = using.endswith("!")

    def make(made: Made) -> Json | None:
        found = made.reading.around.get(name)
        return dict(found) if found else {"extension": [absent_extension("unknown")]} if required else None

    return make


def _own_extension(using: str) -> Make:
    """Text that FHIR has no element for, in an extension of this project of that name."""
    return lambda made: [own_text(using, text)] if (text := _words(made.reading, made.raws)) else []


def _words(reading: Reading, raws: list[str]) -> str:
    """Fields as text: their components with a space between, their repetitions as lines."""
    lines = []
    for raw in reading.repetitions(" ".join(raws) if len(raws) > 1 else raws[0]):
        parts = raw.replace(reading.subcomponent, reading.component).split(reading.component)
        lines.append(" ".join(text for part in parts if (text := reading.exact(part).strip())))
    return "\n".join(line for line in lines if line)


def _coded_note(reading: Reading, raw: str) -> list[Json]:
    """A coded comment as annotations: its words, else its code."""
    return [{"text": said.get("text") or said["coding"][0]["code"]} for said in concepts(reading, raw)]


ELEMENTS: Mapping[str, Factory] = {
    **RARE_ELEMENTS,
    "constant": _constant,
    "concept constant": coding_constant,
    "code": _code,
    "required code": _code_or_unknown,
    "concept": simple(lambda reading, raw: concept(reading, raw.split(reading.repetition, 1)[0])),
    "concepts": simple(concepts),
    "mapped concept": _mapped_concept,
    "table concept": _of_table,
    "text concept": simple(_text_concept),
    "text": simple(_text),
    "texts": simple(_texts),
    "part": simple(lambda reading, raw: reading.part(raw)),
    "dateTime": _date_time,
    "date": _date,
    "instant": simple(_instant),
    "boolean": _boolean,
    "whole number": _whole,
    "decimal": _decimal,
    "quantity": _quantity,
    "identifiers": _extended,
    "entities": _entities,
    "name": simple(_first_name),
    "names": simple(names),
    "address": simple(_first_address),
    "addresses": simple(addresses),
    "telecoms": _telecoms,
    "practitioner": _reference(practitioners),
    "practitioners": simple(practitioners),
    "organization": simple(organization),
    "note": simple(_note),
    "coded note": simple(_coded_note),
    "reference": _around,
    "own text": _own_extension,
}
"""By the name that a segment map uses."""
