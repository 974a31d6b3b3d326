"""MSH-18, UTF-8, cp1252: which was used is recorded, and the bytes are kept whatever they are."""

from __future__ import annotations

import pytest

from engine.errors import Held
from engine.formats.hl7v2 import read


def raw_of(declared: str, data: bytes) -> bytes:
    return (
        b"MSH|^~\\&|A|B|C|D|||ADT^A01|1|T|2.5.1||||||" + declared.encode() + b"\rPID|1||P1||" + data + b"^Name\rNTE|1\r"
    )


@pytest.mark.parametrize(
    ("declared", "codec", "text", "used"),
    [
        ("", "utf-8", "Müller", "utf-8"),
        ("", "cp1252", "Müller", "cp1252"),
        ("", "cp1252", "€uro", "cp1252"),
        ("UNICODE UTF-8", "utf-8", "山田", "utf-8"),
        ("UNICODE", "utf-8", "山田", "utf-8"),
        ("UNICODE UTF-8", "cp1252", "Müller", "cp1252"),
        ("ASCII", "ascii", "Mueller", "ascii"),
        ("ASCII", "utf-8", "Müller", "utf-8"),
        ("ASCII", "cp1252", "Müller", "cp1252"),
        ("8859/1", "iso8859-1", "Müller", "iso8859-1"),
        ("8859/1", "cp1252", "Müller – €", "cp1252"),
        ("8859/1", "utf-8", "“Müller”", "utf-8"),
        ("8859/2", "iso8859-2", "Dvořák", "iso8859-2"),
        ("8859/5", "iso8859-5", "Иванов", "iso8859-5"),
        ("8859/7", "iso8859-7", "Παπά", "iso8859-7"),
        ("8859/9", "iso8859-9", "Yıldız", "iso8859-9"),
        ("8859/15", "iso8859-15", "5 €", "iso8859-15"),
        ("~ISO IR87", "iso2022_jp", "山田", "iso2022_jp_ext"),
        ("ASCII~ISO IR87", "iso2022_jp", "山田太郎", "iso2022_jp_ext"),
        ("ISO IR14~ISO IR87~ISO IR159", "iso2022_jp", "山田", "iso2022_jp_ext"),
        ("GB 18030-2000", "gb18030", "王小明", "gb18030"),
        ("BIG-5", "big5", "許功蓋", "big5"),
        ("KS X 1001", "cp949", "김민수", "cp949"),
        ("KLINGON", "utf-8", "Müller", "utf-8"),
        ("", "ascii", "Mueller", "utf-8"),
        ("8859/1", "ascii", "Mueller", "iso8859-1"),
    ],
)
def test_text_is_decoded_and_written_back(declared: str, codec: str, text: str, used: str) -> None:
    raw = raw_of(declared, text.encode(codec))
    m = read(raw)
    assert (m.charset, m.get("PID-5.1")) == (used, text)
    assert m.rebuild() == raw
    m.set("NTE-1", "2")
    assert m.write() == raw.replace(b"NTE|1", b"NTE|2")


def test_every_byte_survives() -> None:
    data = bytes(n for n in range(256) if n not in b"\r\n\x1c|^~\\&")
    raw = raw_of("", data)
    m = read(raw)
    assert m.charset == "cp1252"
    assert m.rebuild() == raw
    m.set("PID-3", "P2")
    assert m.write() == raw.replace(b"P1", b"P2")


@pytest.mark.parametrize("roman", [b"\x1b(J", b"\x1b(B"])
def test_escape_sequences_that_the_codec_would_write_differently_are_kept(roman: bytes) -> None:
    data = b"\x1b$B;3ED" + roman + b"^\x1b$@@0" + roman
    raw = raw_of("~ISO IR87", data)
    m = read(raw)
    assert m.get("PID-5.1") == "山田"
    assert m.rebuild() == raw
    m.set("NTE-3", "山")
    assert m.write().startswith(raw.removesuffix(b"NTE|1\r"))
    assert read(m.write()).get("NTE-3") == "山"


def test_a_header_with_kanji_before_its_character_set_is_understood() -> None:
    facility = "病院縦棒".encode("iso2022_jp")
    raw = raw_of("~ISO IR87", "山田".encode("iso2022_jp")).replace(b"|B|", b"|" + facility + b"|", 1)
    m = read(raw)
    assert (m.get("MSH-4"), m.get("PID-5.1"), m.rebuild()) == ("病院縦棒", "山田", raw)


def test_text_that_the_message_cannot_hold_is_held_and_not_replaced() -> None:
    m = read(raw_of("8859/1", b"A"))
    m.set("PID-5.1", "Müller")
    assert "Müller".encode("latin-1") in m.write()
    with pytest.raises(Held) as caught:
        m.set("PID-5.1", "山田")
    assert (caught.value.code, caught.value.where) == ("charset", "PID-5.1")
    assert "山田" not in str(caught.value)
