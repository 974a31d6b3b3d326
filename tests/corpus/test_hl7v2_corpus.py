"""Every HL7 v2 file of the shared corpus is read and written back, or refused with a reason."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from engine.errors import Reply, Unreadable
from engine.formats.hl7v2 import Hl7v2, Message, read, split_batch
from engine.formats.hl7v2_ack import acknowledge, judge
from engine.model import Verdict

pytestmark = pytest.mark.corpus

READABLE = 0.98  # of the files that hold a valid MSH
VERDICTS = [Verdict(reply, code="unreadable", where="PID-3", at=1_700_000_000_000_000) for reply in Reply]
HEADERS = ("MSH", "FHS", "BHS")


@lru_cache(maxsize=1)
def files(folder: Path) -> list[tuple[str, bytes]]:
    """Every file, but for the results of converters that stand beside some."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".json"]
    assert len(paths) > 1000
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in paths]


@pytest.fixture
def corpus(shared: Path) -> list[tuple[str, bytes]]:
    return files(shared / "corpus" / "hl7v2" / "open")


def messages(corpus: list[tuple[str, bytes]]) -> list[tuple[str, bytes, Message]]:
    """Every message that can be read."""
    found = []
    for name, raw in corpus:
        try:
            parts = split_batch(raw)
        except Unreadable:
            continue
        for part in parts:
            try:
                found.append((name, part, read(part)))
            except Unreadable:
                continue
    return found


def reason(raw: bytes) -> str:
    """Why a file is refused, as `code where`; empty when all of it is read."""
    try:
        for part in split_batch(raw):
            read(part)
    except Unreadable as error:
        assert error.code
        assert error.where
        return f"{error.code} {error.where}"
    return ""


def test_files_are_read_or_refused_with_a_reason(corpus: list[tuple[str, bytes]]) -> None:
    reasons = Counter(reason(raw) for _, raw in corpus)
    invalid = sum(count for why, count in reasons.items() if why.startswith(("delimiters", "no_header", "empty")))
    share = reasons[""] / (len(corpus) - invalid)
    print(f"\n{len(corpus)} files, {invalid} without a valid MSH, {reasons['']} read: {share:.2%}; {dict(reasons)}")
    assert share >= READABLE


def test_messages_are_written_back_from_bytes_and_from_the_tree(corpus: list[tuple[str, bytes]]) -> None:
    charsets: Counter[str] = Counter()
    for name, raw, message in messages(corpus):
        charsets[message.charset] += 1
        assert message.write() == raw, name
        assert message.rebuild() == raw, name
    print(f"\n{charsets.total()} messages written back; {dict(charsets)}")


def test_one_field_of_each_segment_is_set_and_set_back(corpus: list[tuple[str, bytes]]) -> None:
    changed = 0
    for name, raw, message in messages(corpus):
        seen: Counter[str] = Counter()
        for segment in message.segments:
            seen[segment.name] += 1
            if len(segment.name) != 3 or not segment.name.isalnum() or not segment.name.isupper():
                continue
            n = min(5, max(3, len(segment) - 1)) if segment.name in HEADERS else min(5, max(1, len(segment) - 1))
            path = f"{segment.name}[{seen[segment.name]}]-{n}"
            before = message.get_raw(path)
            value = "changed|here" if message.separators.escape else "changed"
            message.set(path, value)
            written = message.write()
            assert written != raw, (name, path)
            assert message.get(path) == value, (name, path)
            message.set_raw(path, before)
            assert message.write() == raw, (name, path)
            changed += 1
    print(f"\n{changed} fields set and set back")
    assert changed > 10_000


def test_changing_a_field_leaves_all_others(corpus: list[tuple[str, bytes]]) -> None:
    for name, raw, message in messages(corpus):
        last = message.segments[-1]
        if last.name in HEADERS or not last.name.isalnum() or not last.name.isupper() or len(last.name) != 3:
            continue
        message.set(f"{last.name}[{len(message.all(last.name))}]-2", "changed")
        again = read(message.write())
        before = read(raw)
        for n, (old, new) in enumerate(zip(before.segments, again.segments, strict=True)):
            if n < len(before.segments) - 1:
                assert old.fields == new.fields, name
        assert again.segments[-1][2] == "changed"


def test_the_path_s_questions_are_always_answered(corpus: list[tuple[str, bytes]]) -> None:
    form = Hl7v2()
    refused = 0
    for name, raw in corpus:
        identity = None
        try:
            identity = form.identify(raw)
            assert dict(identity.facts).keys()
            assert form.canonical(raw)
        except Unreadable as error:
            assert error.code, name
            refused += 1
        for verdict in VERDICTS:
            answer = acknowledge(identity, raw, verdict)
            assert answer == acknowledge(identity, raw, verdict)
            if answer is not None:
                assert read(answer).first("MSA") is not None, name
                if identity:
                    assert judge(raw, answer).taken is (verdict.reply is Reply.ACCEPT), name
    print(f"\n{len(corpus)} files asked, {refused} not one whole message")


def test_the_keys_are_those_of_the_parsed_message(corpus: list[tuple[str, bytes]]) -> None:
    form = Hl7v2()
    for name, raw, message in messages(corpus):
        identity = form.identify(raw)
        assert identity.control_id == message.get_raw("MSH-10"), name
        patients = [r for pid in message.all("PID") for r in pid.repetitions(3)]
        assert first_components(message, patients) <= {identifier.value for identifier in identity.patients}, name
        flags = [r for obx in message.all("OBX") for r in obx.repetitions(8)]
        assert first_components(message, flags) == set(identity.facts["abnormal"]), name
        codes = [obr[4] for obr in message.all("OBR")]
        assert first_components(message, codes) == set(identity.facts["order_code"]), name


def first_components(message: Message, texts: list[str]) -> set[str]:
    values = {message.decode(text.split(message.separators.component)[0]) for text in texts}
    return values - {"", '""'}
