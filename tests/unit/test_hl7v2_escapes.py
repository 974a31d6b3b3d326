"""Escape sequences, both ways."""

from __future__ import annotations

import pytest

from engine.formats.hl7v2 import STANDARD, Separators, escape, unescape


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("plain", "plain"),
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two\.BR\three", "one\ntwo\nthree"),
        (r"a\.sp\b\.sp2\c\.sp+3\d", "a\nb\n\nc\n\n\nd"),
        (r"\.in+4\indented\.ti-2\\.fi\\.nf\x\.ce\y", "indentedx\ny"),
        (r"a\.sk3\b", "a   b"),
        (r"\H\high\N\ normal", "high normal"),
        (r"\X41\\X0D\\X0A\b", "A\r\nb"),
        (r"\Xc3a9\ \XC3A9C3BC\ ", "é éü "),
        (r"\X4\ \XZZ\ \X\ ", r"\X4\ \XZZ\ \X" + "\\ "),
        (r"\Xff\ ", "\\Xff\\ "),
        (r"\Zab\ \Q\ \unknown\ ", "\\Zab\\ \\Q\\ \\unknown\\ "),
        (r"C:\temp\new", r"C:\temp\new"),
        (r"C:\temp\F\x", r"C:\temp|x"),
        (r"50\50", r"50\50"),
        ("end\\", "end\\"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
        (r"\E\F\E", "\\F\\E"),
        (r"\M2442\;3ED\C2842\ end", "山田 end"),
        (r"\C99\x", "\\C99\\x"),
        (r"\P\ ", "\\P\\ "),
        (r"\.sp999999999\ ", "\\.sp999999999\\ "),
    ],
)
def test_unescape(escaped: str, text: str) -> None:
    assert unescape(escaped) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b^c&d~e\\f", r"a\F\b\S\c\T\d\R\e\E\f"),
        ("one\ntwo\rthree", r"one\.br\two\X0D\three"),
        ("\x0b\x1c\x00", r"\X0B\\X1C\\X00" + "\\"),
        ("tab\tstays", "tab\tstays"),
        (r"\.br\ ", r"\E\.br\E" + "\\ "),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert unescape(escaped) == text


def test_other_delimiters() -> None:
    own = Separators("#", "*", "!", "/", "$", "%")
    assert escape("a#b*c!d/e$f|g^h", own) == "a/F/b/S/c/R/d/E/e/T/f|g^h"
    assert unescape("a/F/b/P/c", own) == "a#b%c"


def test_the_character_set_of_hexadecimal_data_is_the_message_s() -> None:
    assert unescape("\\Xe9\\", STANDARD, "iso8859-1") == "é"


def test_without_an_escape_character_only_safe_text_can_be_written() -> None:
    own = Separators("|", "^", "~", "", "")
    assert escape("a\\b&c", own) == "a\\b&c"
    assert unescape("a\\F\\b", own) == "a\\F\\b"
    with pytest.raises(ValueError, match="no escape character"):
        escape("a^b", own)


def test_a_long_text_of_escape_characters_is_read_in_one_pass() -> None:
    assert unescape("\\" * 100_001) == "\\" * 100_001


def test_a_line_break_is_hexadecimal_where_the_full_stop_delimits() -> None:
    own = Separators(field="!", component='"', repetition=".", escape="#", subcomponent="$")
    assert escape("\n", own) == "#X0A#"
    assert unescape("#X0A#", own) == "\n"
