"""What `identify` reads of a message, and the closed list of facts."""

from __future__ import annotations

import pickle

import pytest

from engine.formats.hl7v2 import FACTS, Hl7v2
from engine.model import Identifier, Identity

HEADER = (
    "MSH|^~\\&|LAB^1.2^ISO|NORTH|EHR|LEE|20240315103045.1-0600^S||ORU^R01^ORU_R01|M1|T^A|2.5.1^USA|||AL|NE||8859/1\r"
)


def identify(*segments: str, header: str = HEADER) -> Identity:
    return Hl7v2().identify((header + "".join(s + "\r" for s in segments)).encode())


def test_the_header() -> None:
    i = identify()
    assert (i.format, i.type, i.control_id) == ("hl7v2", "ORU^R01", "M1")
    assert (i.sender, i.receiver) == (("LAB^1.2^ISO", "NORTH"), ("EHR", "LEE"))
    assert (i.sent_at, i.version, i.processing) == ("20240315103045.1-0600", "2.5.1", "T")
    assert (i.accept_ack, i.application_ack, i.charset) == ("AL", "NE", "8859/1")
    assert (i.patients, i.prior_patients, i.orders, i.barrier) == ((), (), (), False)


@pytest.mark.parametrize(
    "raw", [b"MSH|^~\\&", b"MSH|^~\\&\r", b"MSH|^~\\&|\r", b"MSH|^~\\&|A|B|C|D|E|F|ADT", b"\xef\xbb\xbfMSH#*~\\$#\n"]
)
def test_a_short_header_leaves_the_rest_empty(raw: bytes) -> None:
    i = Hl7v2().identify(raw)
    assert i.control_id == i.version == i.accept_ack == i.charset == ""
    assert i.type in ("", "ADT")
    assert set(i.facts) == set(FACTS)


def test_every_identifier_of_the_patient_comes_with_its_authority() -> None:
    i = identify('PID|1|OLD|P1^^^INTERLOCK-TEST^MR~~""~9\\T\\1^^^A&1.2.3&ISO^SS~7|ALT')
    assert i.patients == (
        Identifier("P1", "INTERLOCK-TEST", "MR"),
        Identifier("9&1", "A&1.2.3&ISO", "SS"),
        Identifier("7", "", ""),
    )


def test_pid_2_serves_where_pid_3_is_empty() -> None:
    assert identify("PID|1|OLD^^^X").patients == (Identifier("OLD", "X", ""),)
    assert identify("PID|1").patients == identify("PID").patients == ()


def test_every_patient_of_a_message_is_named_once() -> None:
    i = identify("PID|1||P1^^^X", "PID|2||P2^^^X", "PID|3||P1^^^X")
    assert i.patients == (Identifier("P1", "X"), Identifier("P2", "X"))


def test_a_merge_is_a_barrier_and_names_who_ends() -> None:
    i = identify("PID|1||P1^^^X^MR", "MRG|P2^^^X^MR~P3^^^X^MR||ACC")
    assert i.barrier
    assert i.prior_patients == (Identifier("P2", "X", "MR"), Identifier("P3", "X", "MR"))


def test_orders_filler_numbers_first_each_once() -> None:
    i = identify("ORC|RE|O1^N|F1^LAB^1.2^ISO", "OBR|1|O1^N|F1^LAB^1.2^ISO|58410-2", "OBR|2|O2|F2^^1.2.3^ISO|1-1", "ORC")
    assert i.orders == (
        Identifier("F1", "LAB", "FILL"),
        Identifier("F2", "1.2.3", "FILL"),
        Identifier("O1", "N", "PLAC"),
        Identifier("O2", "", "PLAC"),
    )


def test_facts() -> None:
    i = identify(
        "EVN|A01|2024||02",
        "PV1|1|I|3W^301^A^NORTH&1.2&ISO",
        "ORC|NW",
        "ORC|NW",
        "OBR|1|O1|F1|58410-2^CBC^LN" + "|" * 20 + "HM|F",
        "OBR|2|O1|F2|1-1^X^LN" + "|" * 20 + '""|P',
        "OBX|1|NM|A||1|||HH~A^Abnormal^HL70078",
        "OBX|2|NM|B||1|||N",
        "OBX|3|NM|C||1|||HH",
        "OBX|4|NM|C||1",
        'OBX|5|NM|C||1|||""',
    )
    assert dict(i.facts) == {
        "type": ("ORU",),
        "trigger": ("R01",),
        "sending_application": ("LAB",),
        "sending_facility": ("NORTH",),
        "receiving_application": ("EHR",),
        "receiving_facility": ("LEE",),
        "processing": ("T",),
        "version": ("2.5.1",),
        "event_reason": ("02",),
        "other_patient_authority": (),
        "social_security": (),
        "patient_class": ("I",),
        "location": ("3W",),
        "facility": ("NORTH&1.2&ISO",),
        "order_control": ("NW",),
        "order_code": ("58410-2", "1-1"),
        "section": ("HM",),
        "result_status": ("F", "P"),
        "abnormal": ("HH", "A", "N"),
    }


def test_the_list_of_facts_is_closed() -> None:
    facts = identify().facts
    assert len(facts) == len(FACTS)
    assert all(facts[name] is facts[name] for name in FACTS)
    with pytest.raises(KeyError):
        facts["patient_name"]
    assert "LAB" not in repr(facts)


def test_an_identity_can_go_to_another_process() -> None:
    i = identify("OBX|1|NM|A||1|||HH")
    assert pickle.loads(pickle.dumps(i)).facts["abnormal"] == ("HH",)


def test_line_ends_delimiters_and_segments_that_only_look_alike_change_nothing() -> None:
    segments = ("PID|1||P1^^^X", "OBR|1|O1|F1", "OBX|1|ST|A||PID|||H", "ORCA|1|2|3", "PIDX|1||P9", "Z|PID")
    plain = identify(*segments)
    text = HEADER + "".join(s + "\r" for s in segments)
    for other in (text.replace("\r", "\n"), text.replace("\r", "\r\n"), "\ufeff" + text, "\x0b" + text + "\x1c\r"):
        i = Hl7v2().identify(other.encode())
        assert (i.patients, i.orders, i.type) == (plain.patients, plain.orders, plain.type)
        assert dict(i.facts) == dict(plain.facts)
    own = Hl7v2().identify(text.replace("|", "#").replace("^", "*").encode())
    assert (own.patients, own.orders) == (plain.patients, plain.orders)
    assert plain.patients == (Identifier("P1", "X"),)


def test_indented_segments_count() -> None:
    i = identify("  PID|1||P1^^^X", "\tOBX|1|NM|A||1|||HH")
    assert i.patients == (Identifier("P1", "X"),)
    assert i.facts["abnormal"] == ("HH",)
