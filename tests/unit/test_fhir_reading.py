"""FHIR's JSON: digits kept, two readings refused, every fault with its place and without a value."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.errors import Unreadable
from engine.formats.fhir import Fhir, read


def test_every_number_keeps_its_digits() -> None:
    found = read(b'{"resourceType":"Observation","a":1.10,"b":19,"c":-0.0,"d":1e-7,"e":123456789012345678901}')
    assert [str(found[name]) for name in "abcde"] == ["1.10", "19", "-0.0", "1E-7", "123456789012345678901"]
    assert isinstance(found["a"], Decimal)
    assert isinstance(found["b"], int)


@pytest.mark.parametrize(
    ("raw", "code", "where"),
    [
        (b"", "not_json", "line 1 column 1"),
        (b'{"resourceType":"Patient",\n  "a" 1}', "not_json", "line 2 column 7"),
        (b'{"resourceType":"Patient"} {}', "not_json", "line 1 column 28"),
        (b"[]", "not_json", "line 1 column 1"),
        (b'{"resourceType":"Patient",\n"a":"NaN","b":NaN}', "not_json", "line 2 column 15"),
        (b'{"resourceType":"Patient","b":-Infinity}', "not_json", "line 1 column 31"),
        (b'{"resourceType":"Patient","b":1e99999999999999999999}', "not_json", "line 1 column 31"),
        (b'{"resourceType":"Patient","a":"\n"}', "not_json", "line 1 column 32"),
        (b'{"resourceType":"Patient",\n"a":"\xe9"}', "not_utf8", "line 2 byte 6"),
        (b'{"resourceType":"Patient","a":"\\ud83d"}', "not_utf8", ""),
        (b'{"resourceType":"Patient","id":"1","id":"1"}', "doubled_name", "Patient.id"),
        (b'{"resourceType":"Patient","name":[{},{"a":{"b":1,"b":2}}]}', "doubled_name", "Patient.name[1].a.b"),
        (b'{"resourceType":"Patient","Jane Doe":1,"Jane Doe":2}', "doubled_name", "Patient.?"),
        (b'{"a":1}', "type_missing", "resourceType"),
        (b'{"resourceType":["Patient"]}', "type_missing", "resourceType"),
        (b'{"resourceType":"../Patient"}', "type_missing", "resourceType"),
        (b'{"resourceType":"Patient","a":' + b"[" * 100 + b"]" * 100 + b"}", "too_deep", ""),
        (b'{"a":' * 50_000, "too_deep", ""),
    ],
)
def test_what_two_readers_could_take_differently_is_refused_with_its_place(raw: bytes, code: str, where: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(raw)
    assert (refused.value.code, refused.value.where) == (code, where)
    assert "Jane" not in str(refused.value)


def test_the_deepest_that_is_allowed_is_read_and_so_is_a_byte_order_mark() -> None:
    assert read(b'\xef\xbb\xbf{"resourceType":"Patient","a":' + b"[" * 99 + b"]" * 99 + b"}")
    assert read(b'{"resourceType":"Patient","a":"\\ud83d\\ude00"}')["a"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("raw", "is_fhir"),
    [
        (b' \n{"resourceType":"Patient"}', True),
        (b'\xef\xbb\xbf{"id":"1","resourceType":"Patient"}', True),
        (b'{"a":1}', False),
        (b"MSH|^~\\&|", False),
        (b"<Patient/>", False),
        (b"", False),
    ],
)
def test_it_is_told_from_other_formats(raw: bytes, is_fhir: bool) -> None:
    assert Fhir().sniff(raw) is is_fhir


def test_lines_of_resources_are_messages_of_their_own_and_a_bundle_is_one() -> None:
    line = b'{"resourceType":"Patient"}'
    assert Fhir().split(line + b"\n" + line + b"\r\n\n") == [line, line]
    pretty = b'{\n"resourceType":"Bundle",\n"entry":[\n{\n}\n]\n}'
    assert Fhir().split(pretty) == [pretty]
    half = line + b"\n{"
    assert Fhir().split(half) == [half]
