"""Acknowledgements: what we answer, and what an answer to us means."""

from __future__ import annotations

from itertools import product

import pytest

from engine.errors import Conflict, Reply, Weight
from engine.formats.hl7v2 import Hl7v2, read
from engine.formats.hl7v2_ack import acknowledge, answer_code, judge
from engine.model import Verdict, show_id

AT = 1_710_498_645_000_000  # 2024-03-15 10:30:45 UTC
ORU = b"MSH|^~\\&|LAB^1.2^ISO|NORTH|EHR|LEE|20240315||ORU^R01^ORU_R01|M1|T|2.5.1\rPID|1||P1\r"


def verdict(reply: Reply = Reply.ACCEPT, **more: object) -> Verdict:
    return Verdict(reply, message=81985529216486895, at=AT, **more)  # type: ignore[arg-type]


def answer(raw: bytes, said: Verdict, *, known: bool = True) -> bytes | None:
    return acknowledge(Hl7v2().identify(raw) if known else None, raw, said)


# The whole table. Rows are MSH-15, columns MSH-16; a cell is the answer to accept / error / reject, "-" is none.
TABLE = """
       absent      AL          NE          ER          SU
absent AA/AE/AR    AA/AE/AR    -/-/-       -/AE/AR     AA/-/-
AL     CA/CE/CR    CA/CE/CR    CA/CE/CR    CA/CE/CR    CA/CE/CR
NE     -/-/-       AA/AE/AR    -/-/-       -/AE/AR     AA/-/-
ER     -/CE/CR     AA/CE/CR    -/CE/CR     -/CE/CR     AA/CE/CR
SU     CA/-/-      CA/AE/AR    CA/-/-      CA/AE/AR    CA/-/-
"""
_COLUMNS = TABLE.split("\n")[1].split()
CELLS = [
    (at_commit, at_application, reply, "" if code == "-" else code)
    for at_commit, *cells in (line.split() for line in TABLE.strip().split("\n")[1:])
    for at_application, cell in zip(_COLUMNS, cells, strict=True)
    for reply, code in zip((Reply.ACCEPT, Reply.ERROR, Reply.REJECT), cell.split("/"), strict=True)
]


def test_the_table_is_whole() -> None:
    conditions = ("absent", "AL", "NE", "ER", "SU")
    assert {cell[:3] for cell in CELLS} == set(product(conditions, conditions, Reply))
    assert len(CELLS) == 75


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("at_commit", "at_application", "reply", "code"), CELLS)
def test_each_cell(at_commit: str, at_application: str, reply: Reply, code: str, known: bool) -> None:
    fields = [b"" if c == "absent" else c.encode() for c in (at_commit, at_application)]
    raw = ORU.replace(b"|2.5.1", b"|2.5.1|||" + b"|".join(fields))
    made = answer(raw, verdict(reply), known=known)
    if not code:
        assert made is None
        return
    assert made is not None
    assert read(made).get("MSA-1") == code
    assert judge(raw, made).taken is (reply is Reply.ACCEPT)


def test_conditions_are_read_kindly() -> None:
    assert answer_code(" al ", "", Reply.ACCEPT) == "CA"
    assert answer_code('""', '""', Reply.ACCEPT) == "AA"
    assert answer_code("ALWAYS", "", Reply.ACCEPT) == "CA"


def test_an_accepting_answer_in_full() -> None:
    assert answer(ORU, verdict()) == (
        b"MSH|^~\\&|EHR|LEE|LAB^1.2^ISO|NORTH|20240315103045+0000||ACK^R01^ACK|"
        + show_id(81985529216486895).encode()
        + b"|T|2.5.1\rMSA|AA|M1\r"
    )


def test_a_refusing_answer_says_where_and_why() -> None:
    said = verdict(Reply.REJECT, code="not_accepted", text="this channel takes ADT|only", where="OBX[3]-5[2].4.1")
    made = answer(ORU, said)
    assert made is not None
    assert made.endswith(
        b"\rMSA|AR|M1\rERR||OBX^3^5^2^4^1|200^Unsupported message type^HL70357|E|||this channel takes ADT\\F\\only\r"
    )


@pytest.mark.parametrize(
    ("where", "location"),
    [("MSH-9", b"MSH^1^9"), ("PID-3.4", b"PID^1^3^^4"), ("PID", b"PID^1"), ("", b""), ("channel.toml:3", b"")],
)
def test_locations(where: str, location: bytes) -> None:
    made = answer(ORU, verdict(Reply.ERROR, where=where)) or b""
    assert b"ERR||" + location + b"|199^" in made


@pytest.mark.parametrize("version", [b"2.1", b"2.2", b"2.3", b"2.3.1", b"2.4"])
def test_older_versions_get_the_older_err(version: bytes) -> None:
    raw = ORU.replace(b"2.5.1", version)
    made = answer(raw, verdict(Reply.ERROR, code="charset", text="no", where="PID-5")) or b""
    assert made.endswith(b"|T|" + version + b"\rMSA|AE|M1|no\rERR|PID^1^5^102&Data type error&HL70357\r")


@pytest.mark.parametrize(
    ("code", "transient", "condition"),
    [
        ("store_unavailable", True, b"207"),
        ("channel_not_taking", True, b"207"),
        ("too_large", False, b"104"),
        ("wrong_environment", False, b"202"),
        ("several_messages", False, b"100"),
        (Conflict.code, False, b"205"),
        ("something_else", False, b"199"),
    ],
)
def test_our_codes_in_the_words_of_table_0357(code: str, transient: bool, condition: bytes) -> None:
    made = answer(ORU, verdict(Reply.ERROR, code=code, transient=transient)) or b""
    assert b"|" + condition + b"^" in made


def test_our_own_errors_mean_to_a_sender_what_they_mean_to_us() -> None:
    passing = answer(ORU, verdict(Reply.ERROR, code="store_unavailable", transient=True)) or b""
    lasting = answer(ORU, verdict(Reply.ERROR, code="unreadable")) or b""
    assert judge(ORU, passing).weight is Weight.TRANSIENT
    assert judge(ORU, lasting).weight is Weight.PERMANENT


def test_the_sender_s_delimiters_and_character_set() -> None:
    raw = ("MSH#*!/$#LAB*1.2#Größe#EHR#LEE#2024##ORU*R01#M/F/1#T#2.4#####" + "#8859/1\rPID#1\r").encode("latin-1")
    made = answer(raw, verdict(Reply.ERROR, code="charset", text="a#b*c", where="PID-1")) or b""
    header, msa, err = made.decode("latin-1").rstrip("\r").split("\r")
    assert header.startswith("MSH#*!/$#EHR#LEE#LAB*1.2#Größe#20240315103045+0000##ACK*R01*ACK#")
    assert header.endswith("#T#2.4######8859/1")
    assert msa == "MSA#AE#M/F/1#a/F/b/S/c"
    assert err == "ERR#PID*1*1*102$Data type error$HL70357"


def test_the_same_verdict_gives_the_same_bytes() -> None:
    said = Verdict(Reply.ERROR, code="too_large", at=AT)
    assert answer(ORU, said) == answer(ORU, said)
    assert answer(ORU, said) != answer(ORU.replace(b"|M1|", b"|M2|"), said)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "raw",
    [
        b"MSH|^~\\&|A|B|C|D|2024||ACK|M1|T|2.5.1\rMSA|AA|X\r",
        b"MSH|^~\\&|A|B|C|D|2024||ACK^R01^ACK|M1|T|2.5.1|||AL|AL\rMSA|AA|X\r",
        b"MSH|^~\\&|A|B|C|D|2024||ACK|M1|T|2.5.1\r",
        b"MSH|^~\\&|A|B|C|D|2024||MCF|M1|T|2.2\rMSA|CA|X\r",
        b"MSH|^~\\&|A|B|C|D|2024||RSP^K11|M1|T|2.5.1\nMSA|AA|X\n",
    ],
)
def test_an_acknowledgement_is_never_acknowledged(raw: bytes, known: bool) -> None:
    for reply in Reply:
        assert answer(raw, verdict(reply), known=known) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"PID|1\rMSH|^~\\&|A|B|C|D|2024||ADT^A01|M9|P|2.3\rPID|1", b"MSA|AE|M9"),
        (b"MSHMSH|^~\\&|A|B|C|D|2024||ADT^A01|M9|P|2.3", b"MSA|AE|M9"),
        (b"MSH|^~\\&|A|B", b"MSA|AE|\r"),
        (b"MSH|^~\\&", b"MSA|AE|\r"),
        (b"MSH|^^^^|A", b"MSA|AE|\r"),
        (b"<html>hello</html>", b"MSA|AE|\r"),
        (b"", b"MSA|AE|\r"),
        (b"\xff\xfe\x00M\x00S\x00H", b"MSA|AE|\r"),
    ],
)
def test_what_cannot_be_read_is_still_answered(raw: bytes, expected: bytes) -> None:
    made = answer(raw, verdict(Reply.ERROR, code="no_header", text="it does not begin with MSH"), known=False)
    assert made is not None
    assert expected in made
    assert read(made).get("MSH-9.1") == "ACK"


def ack(code: str, control_id: str = "M1", *more: str) -> bytes:
    return "\r".join(
        ["MSH|^~\\&|EHR|LEE|LAB|NORTH|2024||ACK|9|T|2.5.1", f"MSA|{code}|{control_id}", *more, ""]
    ).encode()


@pytest.mark.parametrize(
    ("reply", "code", "weight", "level"),
    [
        (ack("AA"), "AA", None, "application"),
        (ack("CA"), "CA", None, "commit"),
        (ack("aa"), "AA", None, "application"),
        (ack("AA", "M1|all is well"), "AA", None, "application"),
        (ack("AA").removesuffix(b"\r"), "AA", None, "application"),
        (b"\x0b" + ack("AA") + b"\x1c\r", "AA", None, "application"),
        (ack("AA").replace(b"\r", b"\n"), "AA", None, "application"),
        (ack("AA").replace(b"\r", b"\r\n"), "AA", None, "application"),
        (ack("AA").replace(b"|", b"#").replace(b"^", b"*"), "AA", None, "application"),
        (b"\xef\xbb\xbf" + ack("AA"), "AA", None, "application"),
        (ack("AE"), "AE", Weight.TRANSIENT, "application"),
        (ack("CE"), "CE", Weight.TRANSIENT, "commit"),
        (ack("AE", "M1", "ERR||PID^1|207^x|E"), "AE 207", Weight.TRANSIENT, "application"),
        (ack("AE", "M1", "ERR||PID^1|206^locked|E"), "AE 206", Weight.TRANSIENT, "application"),
        (ack("CE", "M1", "ERR||PID^1|206|E"), "CE 206", Weight.TRANSIENT, "commit"),
        (ack("AE", "M1", "ERR||PID^1|101^x|E"), "AE 101", Weight.PERMANENT, "application"),
        (ack("AE", "M1", "ERR||PID^1|207|E", "ERR||PID^1|101|E"), "AE 207", Weight.PERMANENT, "application"),
        (ack("AE", "M1", "ERR|PID^1^5^102&Data type error&HL70357"), "AE 102", Weight.PERMANENT, "application"),
        (ack("AE", "M1|x|||207^Internal^HL70357||"), "AE 207", Weight.TRANSIENT, "application"),
        (ack("AR"), "AR", Weight.PERMANENT, "application"),
        (ack("CR"), "CR", Weight.PERMANENT, "commit"),
        (ack("AR", "M1", "ERR||PID^1|207|E"), "AR 207", Weight.PERMANENT, "application"),
        (ack("AE", "M1", "ERR||PID^1|Doe Jane|E"), "AE", Weight.PERMANENT, "application"),
        (ack("AA", "M2"), "wrong_control_id", Weight.AMBIGUOUS, "commit"),
        (ack("AA", "M"), "wrong_control_id", Weight.AMBIGUOUS, "commit"),
        (ack("AA", ""), "wrong_control_id", Weight.AMBIGUOUS, "commit"),
        (ack("AE", "M2"), "wrong_control_id", Weight.AMBIGUOUS, "commit"),
        (ack("A"), "unknown_code", Weight.AMBIGUOUS, "commit"),
        (ack("XX"), "unknown_code", Weight.AMBIGUOUS, "commit"),
        (ack(""), "unknown_code", Weight.AMBIGUOUS, "commit"),
        (ack("AA") + ack("AA"), "several_answers", Weight.AMBIGUOUS, "commit"),
        (ack("AA", "M1", "MSA|AE|M1"), "several_answers", Weight.AMBIGUOUS, "commit"),
        (b"MSH|^~\\&|EHR|LEE|LAB|NORTH|2024||ACK|9|T|2.5.1\r", "no_acknowledgement", Weight.AMBIGUOUS, "commit"),
        (b"MSH|^~\\&|EHR|LEE|LAB|NOR", "no_acknowledgement", Weight.AMBIGUOUS, "commit"),
        (b"MSH|^~", "not_an_answer", Weight.AMBIGUOUS, "commit"),
        (b"MSA|AA|M1\r", "not_an_answer", Weight.AMBIGUOUS, "commit"),
        (b"<html>502</html>", "not_an_answer", Weight.AMBIGUOUS, "commit"),
        (b"", "not_an_answer", Weight.AMBIGUOUS, "commit"),
        (b"\x06", "not_an_answer", Weight.AMBIGUOUS, "commit"),
    ],
)
def test_judge(reply: bytes, code: str, weight: Weight | None, level: str) -> None:
    outcome = judge(ORU, reply)
    assert (outcome.code, outcome.weight, outcome.level) == (code, weight, level)
    assert outcome.answer == reply
    assert outcome.taken is (weight is None)


def test_a_control_id_matches_also_through_other_delimiters_and_encodings() -> None:
    sent = "MSH|^~\\&|||||2024||ADT^A01|Ä\\S\\#1|T|2.5||||||UNICODE UTF-8\r".encode()
    theirs = "MSH#*~\\&#|||||2024||ACK#9\rMSA#AA#Ä^\\F\\1\r".replace("|", "#").encode("latin-1")
    assert judge(sent, theirs).taken
    assert not judge(sent, theirs.replace(b"\\F\\", b"\\S\\")).taken


def test_what_is_sent_may_be_long_and_end_its_lines_with_lf() -> None:
    sent = ORU.replace(b"\r", b"\n") + b"OBX|1|ED|A||" + b"A" * 100_000 + b"\n"
    assert judge(sent, ack("AA")).taken
