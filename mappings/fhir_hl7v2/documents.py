"""DocumentReference as MDM^T02: TXA, and an OBX for each content.

A text goes as text, so that a receiver can show it; any other content as it came, in base64 or as a pointer.
"""

from __future__ import annotations

import base64

from engine.errors import Held
from mappings.fhir_hl7v2.attachments import document
from mappings.fhir_hl7v2.codes import code_of, coded, concept, full_type
from mappings.fhir_hl7v2.fields import Fields, fill, segment
from mappings.fhir_hl7v2.header import evn
from mappings.fhir_hl7v2.identifiers import NO_NUMBER, Number, number, numbers, of_kind
from mappings.fhir_hl7v2.leaves import leaf, leaves
from mappings.fhir_hl7v2.observations import Block
from mappings.fhir_hl7v2.persons import of_one_patient
from mappings.fhir_hl7v2.values import Value
from mappings.fhir_hl7v2.vocabulary import inverse
from mappings.fhir_hl7v2.whose import one_patient
from mappings.fhir_hl7v2.writing import Json, Writing, word
from mappings.hl7v2_fhir.vocabulary import TERMINOLOGY

_CONFIDENTIALITY = (TERMINOLOGY + "v3-Confidentiality",)
_RESULT = {"final": "F", "preliminary": "P", "amended": "C"}

#: TXA-3 (HL7 table 0191) by the main type of the content.
_PRESENTATION = {"text": "TX", "application": "AP", "image": "IM", "audio": "AU", "multipart": "multipart"}


def document_segments(w: Writing) -> list[str]:
    """All segments behind MSH.

    Raises:
        Held: for several documents, and for one that was entered in error: T02 announces a document.
    """
    found = w.of("DocumentReference")
    wrong = found[0].get("status") == "entered-in-error" or found[0].get("docStatus") == "entered-in-error"
    if len(found) > 1 or wrong:
        raise Held(
            "MDM^T02 announces one document that stands",
            code="not_convertible",
            where="DocumentReference.status" if wrong else "DocumentReference",
            advice="Let the sender send a Bundle for each document; a withdrawn one needs T11.",
        )
    reference = w.use(found[0])
    context = w.item(reference, "context")
    around = of_one_patient(w, [reference, _visit(context)])
    w.skip(reference, "subject")
    w.skip(context, "encounter")
    lines = [evn(w, "T02"), *around.segments(w, visit=True), segment("TXA", _txa(w, reference, context))]
    return lines + _contents(w, reference)


def _visit(context: Json) -> Json:
    encounters = context.get("encounter")
    first = encounters[0] if isinstance(encounters, list) and encounters else None
    return {"resourceType": "DocumentReference", "encounter": first} if isinstance(first, dict) else {}


def _txa(w: Writing, reference: Json, context: Json) -> Fields:
    fields: Fields = {1: "1"}
    attachments = [w.item(content, "attachment") for content in w.items(reference, "content")]
    main = word(attachments[0], "contentType").partition("/")[0] if attachments else ""
    fields[3] = _PRESENTATION.get(main, "")
    known = numbers(w, reference)
    unique = number(w, w.item(reference, "masterIdentifier"))
    file_names = [one for one in known if one.authority.namespace.endswith("file") and not one.kind]
    unique = unique if unique.value else next((one for one in known if one not in file_names), NO_NUMBER)
    fields[12] = unique.ei
    fields[13] = _parent(w, reference)
    fields[14], fields[15] = _orders(w, reference, context)
    fields[17] = coded(w, reference, "docStatus", "document-status", "DocumentReference.docStatus")
    fields[18] = _confidentiality(w, reference)
    fields[19] = coded(w, reference, "status", "document-availability", "DocumentReference.status")
    return fill(w, "TXA-DocumentReference", reference, fields)


def _parent(w: Writing, reference: Json) -> str:
    """TXA-13: the number of the document that this one replaces or adds to."""
    for relation in w.items(reference, "relatesTo"):
        found, target = w.target(relation, "target", reference)
        one = number(w, w.item(found, "masterIdentifier")) if found else number(w, w.item(target, "identifier"))
        w.skip(relation, "code")
        return one.ei
    return ""


def _orders(w: Writing, owner: Json, context: Json) -> tuple[str, str]:
    placer: Number = NO_NUMBER
    filler: Number = NO_NUMBER
    for reference in w.items(context, "related"):
        found = w.known.get(word(reference, "reference"), {})
        one_patient(w, (owner, found))
        known = numbers(w, found) if found else [number(w, w.item(reference, "identifier"))]
        w.skip(reference, "reference", "type")
        placer = placer if placer.value else of_kind(known, "PLAC")
        filler = filler if filler.value else of_kind(known, "FILL")
    return placer.ei, filler.ei


def _confidentiality(w: Writing, reference: Json) -> str:
    for label in w.items(reference, "securityLabel"):
        if code := code_of(w, label, _CONFIDENTIALITY, inverse("document-confidentiality")):
            return code
    return ""


def _contents(w: Writing, reference: Json) -> list[str]:
    block = Block()
    status = _RESULT.get(word(reference, "docStatus"), "")
    for content in w.items(reference, "content"):
        attachment = w.item(content, "attachment")
        title = w.text(attachment, "title")
        value = _text(w, attachment) or document(w, attachment, title, "DocumentReference.content.attachment")
        if value.text:
            code = leaves(("", title)) or concept(w, reference, "type", full=full_type(w, "CE"))
            block.put({2: value.kind, 3: code, 5: value.text, 11: status})
    return block.lines


def _text(w: Writing, attachment: Json) -> Value | None:
    """A plain text as FT; None for any other content, and for one that is not UTF-8."""
    kind, data = attachment.get("contentType"), attachment.get("data")
    if not (isinstance(kind, str) and kind.partition(";")[0].strip() == "text/plain" and isinstance(data, str)):
        return None
    try:
        text = base64.b64decode("".join(data.split()), validate=True).decode()
    except ValueError:
        return None
    w.skip(attachment, "data", "contentType", "size", "hash", "language")
    return Value("FT", leaf(text.replace("\r\n", "\n").replace("\r", "\n")))
