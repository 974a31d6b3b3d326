"""Reading, asking, changing and writing HL7 v2 messages."""

from __future__ import annotations

import pytest

from engine.errors import Held, NotFound, Unreadable
from engine.formats.hl7v2 import Hl7v2, Message, parse_path, read

ORU = (
    b"MSH|^~\\&|LAB|NORTH|EHR|LEE|20240315103045||ORU^R01^ORU_R01|M1|T|2.5.1\r"
    b"PID|1||P1^^^INTERLOCK-TEST^MR~9^^^A&1.2.3&ISO^SS||Doe^Jane||19800101|F|||\r"
    b"OBR|1|O1|F1|58410-2^CBC^LN\r"
    b'OBX|1|NM|718-7^Hb^LN||13.2|g/dL|12-16|""|||F\r'
    b"OBX|2|ST|X^Y^L||Salt \\T\\ pepper\\.br\\next\r"
    b"ZXX|7|own\r"
)


def message(raw: bytes = ORU) -> Message:
    return read(raw)


def test_an_untouched_message_is_written_as_the_bytes_that_came() -> None:
    m = message()
    assert m.write() is ORU
    assert m.rebuild() == ORU


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("PID-3[2].4.1", "A"),
        ("PID-3[2].4.2", "1.2.3"),
        ("PID-3[2].4", "A&1.2.3&ISO"),
        ("PID-3.1", "P1"),
        ("PID-3", "P1^^^INTERLOCK-TEST^MR~9^^^A&1.2.3&ISO^SS"),
        ("PID-5.2", "Jane"),
        ("PID-5.1.1", "Doe"),
        ("OBX[2]-5", "Salt & pepper\nnext"),
        ("OBX[2]-3.2", "Y"),
        ("OBX-5", "13.2"),
        ("OBX-8", '""'),
        ("MSH-1", "|"),
        ("MSH-2", "^~\\&"),
        ("MSH-9.2", "R01"),
        ("MSH-10", "M1"),
        ("ZXX-2", "own"),
        ("PID-2", None),
        ("PID-30", None),
        ("PID-3[3].1", None),
        ("PID-5.9", None),
        ("OBX[3]-5", None),
        ("PV1-2", None),
    ],
)
def test_get_reads_what_a_path_names(path: str, value: str | None) -> None:
    assert message().get(path) == value


@pytest.mark.parametrize("path", ["PID", "PID-0", "pid-3", "PID3", "PID-3[0]", "PID-3.", "PID-3.1.2.3", "OBX[]-1", ""])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="PID-5"):
        parse_path(path)


def test_setting_a_field_changes_nothing_else() -> None:
    m = message()
    m.set("OBX[2]-5", "7|8")
    assert m.write() == ORU.replace(b"Salt \\T\\ pepper\\.br\\next", b"7\\F\\8")
    assert m.rebuild() == m.write()
    assert m.get("OBX[2]-5") == "7|8"


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        ("PID-3[2].4.1", "B", b"A&1.2.3", b"B&1.2.3"),
        ("PID-5.2", "A^B", b"Doe^Jane", b"Doe^A\\S\\B"),
        ("PID-5.4", "II", b"Doe^Jane", b"Doe^Jane^^II"),
        ("PID-5[2].1", "Roe", b"Doe^Jane", b"Doe^Jane~Roe"),
        ("OBX-5", "1\r\n2", b"13.2", b"1\\X0D\\\\.br\\2"),
        ("ZXX-5", "x", b"7|own", b"7|own|||x"),
        ("MSH-10", "M2", b"|M1|", b"|M2|"),
        ("OBX-5", '""', b"13.2", b'""'),
    ],
)
def test_set_writes_escaped_text_in_its_place(path: str, value: str, before: bytes, after: bytes) -> None:
    m = message()
    m.set(path, value)
    assert m.write() == ORU.replace(before, after, 1)


@pytest.mark.parametrize("path", ["ZXX-9", "PID-5.7", "PID-5[3].2.2", "PID-13", "OBX-8", "PID-3[2].4.3"])
def test_a_change_taken_back_leaves_no_trace(path: str) -> None:
    m = message()
    before = m.get_raw(path)
    m.set(path, "changed")
    assert m.write() != ORU
    m.set_raw(path, before)
    assert m.write() == ORU


def test_raw_access_keeps_structure_and_text_access_escapes_it() -> None:
    m = message()
    m.set_raw("OBX-3", "1-1^One^LN^718-7^Hb^L")
    assert m.get("OBX-3.4") == "718-7"
    m.set("OBX-3.2", "a^b&c~d\\e")
    assert m.get("OBX-3.2") == "a^b&c~d\\e"
    assert m.get("OBX-3.4") == "718-7"


def test_a_segment_is_asked_by_number() -> None:
    pid = message().first("PID")
    assert pid is not None
    assert (pid.name, pid[0], pid[1], pid[5], pid[99], len(pid)) == ("PID", "PID", "1", "Doe^Jane", "", 12)
    assert pid.repetitions(3) == ["P1^^^INTERLOCK-TEST^MR", "9^^^A&1.2.3&ISO^SS"]
    assert pid.components(3) == ["P1", "", "", "INTERLOCK-TEST", "MR"]
    assert pid.components(3, 1)[0] == "9"
    assert pid.components(3, 5) == [""]
    assert pid.components(40) == [""]
    header = message().first("MSH")
    assert header is not None
    assert (header[1], header[2], header[3], header[12]) == ("|", "^~\\&", "LAB", "2.5.1")


def test_segments_are_found_by_name() -> None:
    m = message()
    assert [s[1] for s in m.all("OBX")] == ["1", "2"]
    assert m.first("PV1") is None
    assert [s.name for s in m.segments] == ["MSH", "PID", "OBR", "OBX", "OBX", "ZXX"]


def test_nothing_that_is_printed_holds_a_value() -> None:
    m = message()
    assert "Doe" not in repr(m) + repr(m.segments[1])


@pytest.mark.parametrize("path", ["MSH-1", "MSH-2"])
def test_the_delimiters_of_a_message_cannot_be_changed(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be changed"):
        message().set(path, "#")


def test_setting_in_a_segment_that_is_not_there_says_so() -> None:
    with pytest.raises(NotFound) as caught:
        message().set("PV1-2", "I")
    assert caught.value.where == "PV1-2"


LINES = [b"MSH|^~\\&|LAB", b"PID|1||P1", b"OBX|1|ST|A||b", b"NTE|1||end"]


@pytest.mark.parametrize("ends", [b"\r", b"\n", b"\r\n", b"\r\r", b"\n\n\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\x0b", b"\r\n  ", b"\xef\xbb\xbf\r"])
@pytest.mark.parametrize("after", [b"", b"\r\n\r\n", b"\x1c\r", b"\x1c", b"\r\x1a", b"  \r"])
def test_line_ends_and_what_stands_around_are_written_back(
    ends: bytes, last: bool, before: bytes, after: bytes
) -> None:
    raw = before + ends.join(LINES) + (ends if last else b"") + after
    m = read(raw)
    assert [s.name for s in m.segments] == ["MSH", "PID", "OBX", "NTE"]
    assert m.write() == raw
    assert m.rebuild() == raw
    m.set("OBX-5", "c")
    assert m.write() == raw.replace(b"||b", b"||c")


def test_mixed_line_ends_are_written_back_each() -> None:
    raw = b"MSH|^~\\&|LAB\r\nPID|1\rOBX|1\nNTE|1\r\r\nNTE|2\n\r"
    m = read(raw)
    assert len(m.segments) == 5
    m.set("PID-1", "2")
    assert m.write() == raw.replace(b"PID|1", b"PID|2")
    assert m.rebuild() == m.write()


def test_a_line_feed_inside_a_text_stays_in_it_where_segments_end_with_cr() -> None:
    raw = b"MSH|^~\\&|LAB\rOBX|1|TX|A||first\nsecond|mg\nNTE|1\r"
    m = read(raw)
    assert m.get("OBX-5") == "first\nsecond"
    assert [s.name for s in m.segments] == ["MSH", "OBX", "NTE"]
    assert m.rebuild() == raw


@pytest.mark.parametrize(
    ("header", "path", "value"),
    [
        (b"MSH#*~\\$#LAB#a*b$c", "MSH-4.2.2", "c"),
        (b"MSH|^~\\&#|LAB|a^b&c", "MSH-4.2.1", "b"),
        (b"MSH|^~|LAB|a^b&c", "MSH-4.2", "b&c"),
        (b"MSH|^|LAB|a~b^c", "MSH-4.1", "a~b"),
        (b"MSH|^~\\\\&|LAB|a^b&c", "MSH-4.2.2", "c"),
        (b"MSH|^~\\&", "MSH-2", "^~\\&"),
    ],
)
def test_delimiters_are_those_of_the_message(header: bytes, path: str, value: str) -> None:
    raw = header + b"\r"
    m = read(raw)
    assert m.get(path) == value
    assert m.rebuild() == raw


def test_without_an_escape_character_unsafe_text_is_held() -> None:
    m = read(b"MSH|^~|LAB|x\r")
    m.set("MSH-4", "plain")
    with pytest.raises(Held) as caught:
        m.set("MSH-4", "a|b")
    assert (caught.value.code, caught.value.where) == ("delimiters", "MSH-4")


@pytest.mark.parametrize(
    ("raw", "code", "where"),
    [
        (b"", "empty", "MSH"),
        (b" \r\n\x00", "empty", "MSH"),
        (b"PID|1\r", "no_header", "MSH"),
        (b"<html>", "no_header", "MSH"),
        (b"MSH", "delimiters", "MSH-1"),
        (b"MSH\r", "delimiters", "MSH-1"),
        (b"MSH|", "delimiters", "MSH-2"),
        (b"MSH||A|B\r", "delimiters", "MSH-2"),
        (b"MSHA^~\\&A", "delimiters", "MSH-1"),
        (b"MSH|^^\\&|", "delimiters", "MSH-2"),
        (b"MSH|^~\\&#!|", "delimiters", "MSH-2"),
        (b"MSH|^~a&|", "delimiters", "MSH-2"),
        (b"MSH|" + b"^" * 100, "delimiters", "MSH-2"),
        (b"MSH\xff^~\\&\xff", "delimiters", "MSH-1"),
        (b"FHS|^~\\&\rMSH|^~\\&|", "batch", "FHS"),
        (b"BHS|^~\\&\rMSH|^~\\&|", "batch", "BHS"),
        (b"MSH|^~\\&|A\rMSH|^~\\&|B\r", "several_messages", "MSH"),
        (b"MSH|^~\\&|A\nMSH|^~\\&|B\n", "several_messages", "MSH"),
        (b"MSH|^~\\&|A\r  MSH|^~\\&|B\r", "several_messages", "MSH"),
        (b"MSH|^~\\&|A\rDSC|1|I\r", "continuation", "DSC-1"),
        (b"MSH|^~\\&|A\rADD|more\r", "continuation", "ADD"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_place_and_no_value(raw: bytes, code: str, where: str) -> None:
    for reading in (read, Hl7v2().identify, Hl7v2().canonical):
        with pytest.raises(Unreadable) as caught:
            reading(raw)
        assert (caught.value.code, caught.value.where) == (code, where)


@pytest.mark.parametrize("raw", [b"MSH|^~\\&|A\rDSC|\r", b"MSH|^~\\&|A\rDSC\r", b"MSH|^~\\&|A\rOBX|1|ST|MSH||ADD\r"])
def test_what_only_looks_like_a_part_is_read(raw: bytes) -> None:
    assert read(raw).rebuild() == raw


def test_lines_that_are_no_segments_are_kept_under_what_they_begin_with() -> None:
    raw = b"MSH|^~\\&|A\r  OBX|1|ST\rloose text\rPV|1\r"
    m = read(raw)
    assert [s.name for s in m.segments] == ["MSH", "OBX", "loose text", "PV"]
    assert m.rebuild() == raw


def test_sniff_knows_messages_and_batches() -> None:
    sniff = Hl7v2().sniff
    assert all(map(sniff, [ORU, b"\xef\xbb\xbfMSH|^", b"\x0bMSH#^", b"FHS|", b"\r\nBHS|"]))
    assert not any(map(sniff, [b"", b"MSH", b"MSHA", b"{}", b"<MSH|", b"PID|1"]))
