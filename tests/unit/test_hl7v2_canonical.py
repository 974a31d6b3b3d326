"""When two messages have the same content, and when they do not."""

from __future__ import annotations

import pytest

from engine.formats.hl7v2 import Hl7v2

BASE = (
    "MSH|^~\\&|LAB|NORTH|EHR|LEE|20240315103045||ORU^R01^ORU_R01|M1|T|2.5.1|||AL|NE\r"
    "PID|1||P1^^^INTERLOCK-TEST^MR~9^^^SSA||Doe^Jane\r"
    "ORC|RE|O1|F1\r"
    "OBR|1|O1|F1|58410-2^CBC^LN\r"
    "OBX|1|NM|718-7^Hb^LN||13.2|g/dL|12-16|N|||F\r"
    "NTE|1||salt \\T\\ pepper\\.br\\next\r"
    "OBX|2|ST|X^Müller||b&c\r"
)


def canonical(text: str, codec: str = "utf-8") -> bytes:
    return Hl7v2().canonical(text.encode(codec))


def swapped(text: str, old: str = "|^~\\&", new: str = "#*!?$") -> str:
    return text.translate(str.maketrans(old, new))


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace("|M1|", "|M2|"),
        BASE.replace("20240315103045", "20250101000000+0100"),
        BASE.replace("|AL|NE", ""),
        BASE.replace("2.5.1|||AL|NE", "2.5.1|17|ptr|NE|AL||UNICODE UTF-8"),
        BASE.replace("OBX|2|", "OBX|7|").replace("NTE|1|", "NTE||").replace("PID|1|", "PID||"),
        BASE.replace("\r", "\n"),
        BASE.replace("\r", "\r\n"),
        BASE.replace("\r", "\r\r"),
        BASE.removesuffix("\r"),
        "\ufeff\x0b" + BASE + "\x1c\r",
        BASE.replace("|F\r", "|F|||||\r"),
        BASE.replace("^LN|", "^LN^^^|"),
        BASE.replace("Jane\r", "Jane^^^\r"),
        BASE.replace("^MR~", "^MR^&^~"),
        BASE.replace("b&c", "b&c&&"),
        BASE.replace("718-7^", "718-7&&^"),
        BASE.replace("\\T\\", "\\X26\\"),
        BASE.replace("\\.br\\", "\\X0A\\"),
        swapped(BASE).replace("?T?", "&"),
        BASE.replace("^~\\&|", "^~\\&#|"),
    ],
)
def test_what_only_transport_changes_is_the_same_content(same: str) -> None:
    assert canonical(same) == canonical(BASE)


def test_the_character_set_does_not_matter() -> None:
    declared = BASE.replace("|AL|NE", "|AL|NE||8859/1")
    assert canonical(declared, "latin-1") == canonical(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("|LAB|", "|LAB2|"),
        ("|EHR|", "|EHR2|"),
        ("^R01^", "^R02^"),
        ("|T|", "|P|"),
        ("|2.5.1|", "|2.3|"),
        ("P1^", "P2^"),
        ("INTERLOCK-TEST", "OTHER"),
        ("RE|", "NW|"),
        ("O1|F1\rOBR", "O1|F2\rOBR"),
        ("58410-2", "58410-3"),
        ("13.2", "13.20"),
        ("13.2", "-13.2"),
        ("13.2", " 13.2"),
        ("g/dL", "g/L"),
        ("12-16", "12-17"),
        ("|N|", "|H|"),
        ("|N|", '|""|'),
        ("|||F", "|||C"),
        ("Doe^Jane", "Doe&Jane"),
        ("Doe^Jane", "^Doe^Jane"),
        ("Doe^Jane", "Doe^Jane~"),
        ("b&c", "b\\T\\c"),
        ("salt", "Salt"),
        ("\\.br\\", " "),
        ("\\.br\\", "\\.sp\\"),
        ("\\.br\\", "\\E\\.br\\E\\"),
        ("NTE|1||salt", "NTE|1|L|salt"),
        ("NTE|1||salt \\T\\ pepper\\.br\\next\r", ""),
        ("Müller", "Muller"),
        ("OBX|2|ST|X^Müller||b&c\r", "OBX|2|ST|X^Müller||b&c\rOBX|3|ST|X||\r"),
        ("~9^^^SSA", ""),
    ],
)
def test_anything_clinical_makes_another_content(old: str, new: str) -> None:
    assert old in BASE
    for change in (lambda text: text, swapped):
        assert canonical(change(BASE.replace(old, new, 1))) != canonical(change(BASE))


def test_order_matters() -> None:
    head, pid, orc, obr, obx, nte, last, _ = BASE.split("\r")
    moved = "\r".join([head, pid, orc, obr, nte, obx, last, ""])
    assert canonical(moved) != canonical(BASE)


def test_field_1_of_other_segments_stays() -> None:
    base = BASE + "ZXX|1|a\rSAC|1\r"
    assert canonical(base.replace("ZXX|1", "ZXX|2")) != canonical(base)
    assert canonical(base.replace("SAC|1", "SAC|2")) != canonical(base)


def test_escapes_that_cannot_be_resolved_are_told_apart() -> None:
    texts = [
        "\\H\\a\\N\\",
        "a",
        "\\Zx\\a",
        "\\X01\\a",
        "\\M2442\\a",
        "\\E\\H\\E\\a",
        "\\",
        "\\E\\\\E\\",
        "\\Q\\a",
        "C:\\a",
    ]
    results = {canonical(BASE.replace("salt", text)) for text in texts}
    assert len(results) == len(texts)


def test_long_runs_of_delimiters_are_read_in_one_pass() -> None:
    run = "^" * 200_000
    assert canonical(BASE.replace("b&c", run + "x")) != canonical(BASE.replace("b&c", run + "y"))
    assert canonical(BASE.replace("13.2", "13.2" + run)) == canonical(BASE)
    assert canonical(BASE.replace("b&c", "&^" * 100_000 + "x")) == canonical(BASE.replace("b&c", "^" * 100_000 + "x"))
