"""Acknowledgements of HL7 v2: the answer to a sender, and what a receiver's answer means.

Nothing but a positive answer to this very message counts as taken, and an acknowledgement is never acknowledged.
"""

from __future__ import annotations

import time
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from engine.errors import Reply, Unreadable, Weight
from engine.formats.hl7v2.charset import decode, encode, line_end
from engine.formats.hl7v2.escapes import escape, unescape
from engine.formats.hl7v2.lines import split
from engine.formats.hl7v2.paths import parse_path
from engine.formats.hl7v2.separators import STANDARD, Separators, separators_of
from engine.model import MICROSECONDS, Identity, Outcome, Verdict, show_id

_LETTER = {Reply.ACCEPT: "A", Reply.ERROR: "E", Reply.REJECT: "R"}
_LETTERS_ORIGINAL = {reply: "A" + letter for reply, letter in _LETTER.items()}
_LEVEL = {"AA": "application", "CA": "commit"}
_NEGATIVE = frozenset({"AE", "AR", "CE", "CR"})
_AROUND = "\x0b\x1c\r\n \t\x00\xef\xbb\xbf"  # frame, line ends, blanks, and a byte order mark read as latin-1
_NOT_ONE = {
    False: ("no_acknowledgement", "the answer has no MSA"),
    True: ("several_answers", "more than one answer came where one was due"),
}
_ANSWERS = ("ACK", "MCF")  # message types that answer another message
_ERR_SINCE = "2.5"  # from here on ERR has fields of its own; before, ERR-1 holds everything

#: Our error codes as HL7 table 0357 says them; what is transient is 207, what is in no row is 199 (other HL7 error).
_CONDITIONS = {
    "no_header": ("100", "Segment sequence error"),
    "several_messages": ("100", "Segment sequence error"),
    "continuation": ("100", "Segment sequence error"),
    "batch": ("100", "Segment sequence error"),
    "batch_count": ("100", "Segment sequence error"),
    "batch_end": ("100", "Segment sequence error"),
    "empty": ("101", "Required field missing"),
    "delimiters": ("102", "Data type error"),
    "charset": ("102", "Data type error"),
    "too_large": ("104", "Value too long"),
    "not_accepted": ("200", "Unsupported message type"),
    "wrong_environment": ("202", "Unsupported processing id"),
    "conflict": ("205", "Duplicate key identifier"),
}
_INTERNAL = ("207", "Application internal error")
_OTHER = ("199", "Other HL7 error")

#: Table 0357 codes with which AE and CE may go right next time: record locked, internal error.
_TRANSIENT_CONDITIONS = frozenset({"206", "207"})

#: What AE, CE, AR and CR mean without one of those codes. An error that says nothing more may pass, a reject never.
_WEIGHT = {
    ("E", "unstated"): Weight.TRANSIENT,
    ("E", "transient"): Weight.TRANSIENT,
    ("E", "stated"): Weight.PERMANENT,
    ("R", "unstated"): Weight.PERMANENT,
    ("R", "transient"): Weight.PERMANENT,
    ("R", "stated"): Weight.PERMANENT,
}


_HEADER_FIELDS = 23


class _Header(NamedTuple):
    """The fields of an MSH, `fields[n]` being MSH-n, and how its text is written."""

    fields: list[str]
    separators: Separators
    charset: str


def acknowledge(identity: Identity | None, raw: bytes, verdict: Verdict) -> bytes | None:
    """The answer to a message: the same bytes for the same verdict; None where the sender wants none. Never raises.

    Of bytes that are no message, whatever header can be found is answered; without one, a minimal answer is made.
    """
    header = _header(raw)
    if header is None:
        return _written(_minimal(), _LETTERS_ORIGINAL[verdict.reply], verdict, raw)
    if _answers_another(header, raw):
        return None
    if identity is None:
        code = answer_code(header.fields[15], header.fields[16], verdict.reply)
    else:
        code = answer_code(identity.accept_ack, identity.application_ack, verdict.reply)
    return _written(header, code, verdict, raw) if code else None


def answer_code(accept_ack: str, application_ack: str, reply: Reply) -> str:
    """MSA-1 for MSH-15, MSH-16 and what was decided; empty where no answer is wanted.

    Both empty is original mode. Otherwise the commit answer goes when MSH-15 asks for it, else the application answer
    when MSH-16 does. A condition that table 0155 does not have counts as AL: an answer too many harms less than none.
    """
    at_commit, at_application = _condition(accept_ack), _condition(application_ack)
    if not at_commit and not at_application:
        return _LETTERS_ORIGINAL[reply]
    if _wanted(at_commit, reply):
        return "C" + _LETTER[reply]
    return "A" + _LETTER[reply] if _wanted(at_application, reply) else ""


def judge(sent: bytes, answer: bytes) -> Outcome:
    """What a receiver's answer to `sent` means. What is not plainly an answer to this message is ambiguous."""
    text = answer.decode("latin-1").strip(_AROUND)
    if text[:3] != "MSH" or len(text) < 8:
        return _ambiguous("not_an_answer", "the answer does not begin with MSH", answer)
    field = text[3]
    lines = text.replace("\n", "\r").split("\r")
    acknowledgements = [line.split(field) for line in lines if line.startswith("MSA" + field)]
    if len(acknowledgements) != 1 or any(line.startswith("MSH" + field) for line in lines[1:]):
        return _ambiguous(*_NOT_ONE[len(acknowledgements) > 0], answer)
    msa = [*acknowledgements[0], "", ""]
    code = msa[1].strip().upper()
    nameless = not msa[2].strip() and code in _NEGATIVE  # it could not read whose message it refuses: ours is out
    if not nameless and not _same_control_id(sent, answer, msa[2]):
        return _ambiguous("wrong_control_id", "MSA-2 is not the MSH-10 that was sent", answer)
    if code in _LEVEL:
        return Outcome(code=code, level=_LEVEL[code], answer=answer)
    if len(code) != 2 or code[0] not in "AC" or code[1] not in "ER":
        return _ambiguous("unknown_code", "MSA-1 is no acknowledgement code", answer)
    return _negative(code, _conditions(lines, msa, field, text[4]), answer)


def _header(raw: bytes) -> _Header | None:
    """The first usable MSH anywhere in the bytes."""
    at = raw.find(b"MSH")
    while at >= 0:
        line = raw[at : line_end(raw, at)]
        text, charset = decode(line)
        try:
            separators = separators_of(text)
        except Unreadable:
            at = raw.find(b"MSH", at + 3)
            continue
        fields = text.split(separators.field)
        fields.insert(1, separators.field)
        return _Header(fields + [""] * (_HEADER_FIELDS - len(fields)), separators, charset)
    return None


def _minimal() -> _Header:
    """The header that stands in for one that could not be found."""
    fields = ["MSH", "|", "^~\\&", "", "", "INTERLOCK", *[""] * 5, "P", "2.5.1"]
    return _Header(fields + [""] * (_HEADER_FIELDS - len(fields)), STANDARD, "ascii")


def _answers_another(header: _Header, raw: bytes) -> bool:
    kind = header.fields[9].split(header.separators.component)[0]
    mark = b"MSA" + header.separators.field.encode("ascii")
    return kind in _ANSWERS or b"\r" + mark in raw or (b"\n" in raw and b"\n" + mark in raw)


def _condition(value: str) -> str:
    value = value.strip().upper()
    return "" if value == '""' else value


def _wanted(condition: str, reply: Reply) -> bool:
    if condition == "ER":
        return reply is not Reply.ACCEPT
    if condition == "SU":
        return reply is Reply.ACCEPT
    return condition not in ("", "NE")


def _written(header: _Header, code: str, verdict: Verdict, raw: bytes) -> bytes:
    """MSH, MSA and, where the answer is negative, ERR, with the sender's delimiters and in its character set."""
    fields, separators, charset = header
    kind, _, rest = fields[9].partition(separators.component)
    trigger = rest.partition(separators.component)[0]
    answer = separators.component.join(("ACK", trigger, "ACK")) if kind and trigger else "ACK"
    own_id = show_id(verdict.message or _derived(fields[10], raw, verdict))
    sent_at = _timestamp(verdict.at // MICROSECONDS)
    head = ["MSH", *fields[2:3], *fields[5:7], *fields[3:5], sent_at, "", answer, own_id, fields[11], fields[12]]
    if fields[18]:
        head += ["", "", "", "", "", fields[18]]
    old = _is_old(header)
    msa = ["MSA", code, fields[10]]
    segments = [head, msa]
    if verdict.reply is not Reply.ACCEPT:
        text = _own_text(verdict.text, separators)
        msa += [text] if old and text else []
        segments.append(_old_error(verdict, separators) if old else _error(verdict, text, separators))
    lines = "\r".join(separators.field.join(segment) for segment in segments)
    try:
        return encode(lines + "\r", charset)
    except UnicodeEncodeError:  # a codec that reads more than it writes: an answer with a gap is better than none
        return (lines + "\r").encode(charset, "replace")


def _is_old(header: _Header) -> bool:
    version = header.fields[12].partition(header.separators.component)[0].strip()
    return "2" <= version < _ERR_SINCE


def _error(verdict: Verdict, text: str, separators: Separators) -> list[str]:
    """ERR of 2.5 and later: location, condition, severity, and the text in ERR-7."""
    component = separators.component
    condition = component.join((*_condition_of(verdict), "HL70357"))
    return ["ERR", "", component.join(_location(verdict.where)), condition, "E", "", "", text]


def _old_error(verdict: Verdict, separators: Separators) -> list[str]:
    """ERR before 2.5: ERR-1 is segment, sequence, field, and the condition as sub-components."""
    segment, sequence, field = (*_location(verdict.where), "", "", "")[:3]
    inner = separators.subcomponent
    condition = (*_condition_of(verdict), "HL70357")
    code = inner.join(condition) if inner else condition[0]
    return ["ERR", separators.component.join((segment, sequence, field, code))]


def _condition_of(verdict: Verdict) -> tuple[str, str]:
    if verdict.transient:
        return _INTERNAL
    return _CONDITIONS.get(verdict.code, _OTHER)


def _location(where: str) -> list[str]:
    """The parts of ERL that a place such as `OBX[3]-5.1`, or the name of a segment, fills."""
    if len(where) == 3 and where.isalnum() and where.isupper():
        return [where, "1"]
    try:
        segment, *numbers = parse_path(where)
    except ValueError:
        return []
    parts = [segment, *(str(n or "") for n in numbers)]
    while not parts[-1]:
        parts.pop()
    return parts


def _own_text(text: str, separators: Separators) -> str:
    """Our own text as a leaf of the sender's message; without what its encoding cannot say."""
    plain = text.encode("ascii", "replace").decode("ascii")
    try:
        return escape(plain, separators)
    except ValueError:
        return ""


def _derived(control_id: str, raw: bytes, verdict: Verdict) -> int:
    """A number for an answer to something that was not kept: of what is answered, and when."""
    seed = f"{control_id}\r{verdict.at}\r{verdict.code}\r{len(raw)}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(seed, digest_size=8).digest(), "big") >> 1


@lru_cache(maxsize=64)
def _timestamp(seconds: int) -> str:
    return time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(seconds))


def _same_control_id(sent: bytes, answer: bytes, msa_2: str) -> bool:
    """Whether MSA-2 is MSH-10 of what was sent: as it stands, or decoded where delimiters or encodings differ."""
    ours = sent[: line_end(sent, 0)].decode("latin-1").split(sent[3:4].decode("latin-1") or "|", 10)
    if len(ours) > 9 and ours[9].strip() == msa_2.strip():
        return True
    sent_header, answer_header = _header(sent), _header(answer)
    if sent_header is None or answer_header is None:
        return False
    text, _ = decode(answer[answer.find(b"MSH") :])
    separators = answer_header.separators
    lines = (line.split(separators.field) for line in split(text)[0] if line.startswith("MSA" + separators.field))
    theirs = [unescape(line[2], separators, answer_header.charset).strip() for line in lines if len(line) > 2]
    return [unescape(sent_header.fields[10], sent_header.separators, sent_header.charset).strip()] == theirs


def _conditions(lines: list[str], msa: list[str], field: str, component: str) -> list[str]:
    """The codes of table 0357 in an answer: ERR-3 since 2.5, ERR-1 before, MSA-6 where there is no ERR."""
    found = []
    for line in lines:
        if line.startswith("ERR" + field):
            err = [*line.split(field), "", "", ""]
            old = [*err[1].split(component), "", "", "", ""][3]
            found.append(err[3].split(component)[0].strip() or _leading_digits(old))
    if not any(found) and len(msa) > 8:
        found.append(msa[6].split(component)[0].strip())
    return [code for code in found if code and code != "0"]


def _leading_digits(text: str) -> str:
    """The code of an old ERR-1.4, whose sub-components are parted by a delimiter that need not be known."""
    digits = text.strip()
    return digits[: next((i for i, c in enumerate(digits) if not c.isdigit()), len(digits))]


def _negative(code: str, conditions: list[str], answer: bytes) -> Outcome:
    kind = "unstated"
    if conditions:
        kind = "transient" if _TRANSIENT_CONDITIONS.issuperset(conditions) else "stated"
    shown = conditions[0][:20] if conditions and conditions[0].isalnum() else ""
    level = "commit" if code[0] == "C" else "application"
    return Outcome(f"{code} {shown}".strip(), _WEIGHT[code[1], kind], level, answer, "the receiver did not take it")


def _ambiguous(code: str, detail: str, answer: bytes) -> Outcome:
    return Outcome(code=code, weight=Weight.AMBIGUOUS, answer=answer, detail=detail)
