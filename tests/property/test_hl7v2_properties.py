"""What holds for every message: nothing is lost, and a change changes nothing else."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.errors import InterlockError, Reply, Unreadable
from engine.formats.hl7v2 import STANDARD, Hl7v2, Separators, escape, read, split_batch, unescape
from engine.formats.hl7v2_ack import acknowledge, judge
from engine.model import Verdict

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
CHARSETS = {
    "": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "8859/1": "iso8859-1",
    "8859/5": "iso8859-5",
    "~ISO IR87": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "BIG-5": "big5",
    "KS X 1001": "cp949",
}
RELAXED = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


class Made(NamedTuple):
    """A generated message: its bytes, and the leaves that were put in, by path."""

    raw: bytes
    leaves: dict[str, str]
    codec: str


@st.composite
def separators(draw: st.DrawFn) -> Separators:
    if draw(st.booleans()):
        return STANDARD
    marks = draw(st.lists(st.sampled_from(PUNCTUATION), min_size=5, max_size=6, unique=True))
    return Separators(*marks, *[""] * (6 - len(marks)))


def leaf(codec: str) -> st.SearchStrategy[str]:
    characters = st.characters(codec="utf-8" if codec == "iso2022_jp_ext" else codec, exclude_characters="\x1b\ufeff")
    return st.text(characters, max_size=8).filter(lambda text: _kept(text, codec))


def _kept(text: str, codec: str) -> bool:
    """Whether the codec has the text, as ISO 8859 without the control characters that are none of its characters."""
    try:
        return text.encode(codec).decode(codec) == text and not any("\x7f" < c < "\xa0" for c in text)
    except UnicodeError:
        return False


@st.composite
def messages(draw: st.DrawFn) -> Made:
    own = draw(separators())
    declared = draw(st.sampled_from(sorted(CHARSETS)))
    codec = CHARSETS[declared]
    end = draw(st.sampled_from(["\r", "\n", "\r\n"]))
    head = [f"MSH{own.field}{''.join(own[1:])}", "LAB", *[""] * 5, "ADT", "M1", "T", "2.5", *[""] * 5, declared]
    head[-1] = own.repetition.join(declared.split("~"))
    leaves: dict[str, str] = {}
    lines = [own.field.join(head)]
    for n in range(1, draw(st.integers(1, 4)) + 1):
        fields = [f"ZZ{n}"]
        for f in range(1, draw(st.integers(1, 4)) + 1):
            fields.append(_field(draw, own, codec, f"ZZ{n}-{f}", leaves))
        lines.append(own.field.join(fields))
    text = end.join(lines) + draw(st.sampled_from(["", end, end * 2]))
    before = draw(st.sampled_from([b"", b"\x0b", b"\xef\xbb\xbf", b"\r\n"]))
    return Made(before + text.encode(codec), leaves, codec)


def _field(draw: st.DrawFn, own: Separators, codec: str, path: str, leaves: dict[str, str]) -> str:
    repetitions = []
    for r in range(1, draw(st.integers(1, 2)) + 1):
        components = []
        for c in range(1, draw(st.integers(1, 3)) + 1):
            subcomponents = []
            for s in range(1, draw(st.integers(1, 2)) + 1):
                text = leaves[f"{path}[{r}].{c}.{s}"] = draw(leaf(codec))
                subcomponents.append(escape(text, own))
            components.append(own.subcomponent.join(subcomponents))
        repetitions.append(own.component.join(components))
    return own.repetition.join(repetitions)


@RELAXED
@given(messages())
def test_reading_and_writing_is_identity(made: Made) -> None:
    message = read(made.raw)
    assert message.write() == made.raw
    assert message.rebuild() == made.raw


@RELAXED
@given(messages())
def test_every_leaf_is_read_as_it_was_meant(made: Made) -> None:
    message = read(made.raw)
    if message.charset not in (made.codec, "utf-8"):
        return  # text that is valid in a codec tried before
    if made.raw.isascii() is False and message.charset != made.codec:
        return
    for path, text in made.leaves.items():
        assert (message.get(path) or "") == text


@RELAXED
@given(messages(), st.data())
def test_setting_a_leaf_changes_it_only_and_can_be_taken_back(made: Made, data: st.DataObject) -> None:
    message = read(made.raw)
    path = data.draw(st.sampled_from(sorted(made.leaves)))
    value = data.draw(st.text(st.characters(codec="ascii"), max_size=8))
    before = {other: message.get_raw(other) for other in made.leaves}
    message.set(path, value)
    again = read(message.write())
    assert again.write() == message.rebuild()
    assert (again.get(path) or "") == value
    assert {p: again.get_raw(p) for p in made.leaves if p != path} == {p: t for p, t in before.items() if p != path}
    message.set_raw(path, before[path])
    assert message.write() == made.raw


@given(st.text(), separators())
@example("\\.br\\", STANDARD)
@example("\r\n\x0b\x1c", STANDARD)
@example('""', STANDARD)
def test_escaping_is_undone_by_unescaping(text: str, own: Separators) -> None:
    escaped = escape(text, own)
    assert unescape(escaped, own) == text
    assert not set(escaped) & {own.field, own.component, own.repetition, own.subcomponent, "\r", "\n", "\x0b", "\x1c"}


@given(st.text(alphabet="\\FSTREXMCHNZ.brsp0123456789abc|^&~\r\n\x1bé", max_size=30))
def test_unescaping_takes_any_text(text: str) -> None:
    unescape(text)


@RELAXED
@given(messages(), st.integers(0, 400), st.binary(max_size=6))
def test_damaged_messages_are_read_or_refused_and_always_answered(made: Made, at: int, data: bytes) -> None:
    raw = made.raw[:at] + data + made.raw[at + len(data) :]
    form = Hl7v2()
    identity = None
    try:
        message = read(raw)
        assert message.write() == raw
        assert message.rebuild() == raw
        identity = form.identify(raw)
        assert set(identity.facts.keys())
        assert dict(identity.facts) is not None
        form.canonical(raw)
    except Unreadable as error:
        assert error.code
        assert error.where
    verdict = Verdict(Reply.ERROR, code="unreadable", text="no", at=1_700_000_000_000_000)
    answer = acknowledge(identity, raw, verdict)
    assert answer == acknowledge(identity, raw, verdict)
    if answer:
        judge(raw, answer)


@RELAXED
@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([b"MSH|^~\\&|", b"BHS|", b"BTS|1", b"FTS|", b""]))
def test_any_bytes_are_taken_apart_or_refused(parts: list[bytes], mark: bytes) -> None:
    raw = (b"\r" + mark).join([b"", *parts])
    try:
        for one in split_batch(raw):
            read(one)
    except InterlockError as error:
        assert isinstance(error, Unreadable)


@RELAXED
@given(messages(), st.sampled_from(sorted(Reply)))
def test_our_answer_is_understood_as_it_was_meant(made: Made, reply: Reply) -> None:
    verdict = Verdict(reply, code="unreadable", text="a|b^c", where="PID-3", at=1_700_000_000_000_000)
    answer = acknowledge(Hl7v2().identify(made.raw), made.raw, verdict)
    assert answer is not None
    assert judge(made.raw, answer).taken is (reply is Reply.ACCEPT)
    assert read(answer).get("MSA-2") == "M1"


@RELAXED
@given(messages())
def test_the_same_content_is_the_same_whatever_the_envelope(made: Made) -> None:
    form = Hl7v2()
    text = made.raw.replace(b"\r\n", b"\r")
    assert form.canonical(made.raw) == form.canonical(b"\xef\xbb\xbf" + text.lstrip(b"\xef\xbb\xbf\x0b\r\n") + b"\r\r")
