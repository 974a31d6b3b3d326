"""channel.toml becomes a Channel with every default in its place, or a list of every fault with its line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import registry
from engine.channels.checks import Known
from engine.channels.keys import DESTINATION, RETRY, SOURCE, Key
from engine.channels.site import diff, inspect_channel, read_site
from engine.durations import read_duration, read_size
from engine.wiring import DAY, DestinationSpec, Retry, SourceSpec
from tests.building import read_channel

FAKES = "channel_fakes"

GOOD = """\
name        = "good"
title       = "A good channel"
class       = "result"
environment = "test"

[source]
listen   = "mllp://127.0.0.1:2575"
accept   = ["ORU^R01"]
timezone = "America/Chicago"
patient  = { authority = "NSH", type = "MR" }
options  = { idle_timeout = "5m" }

[duplicates]
within = "7d"

[[map]]
field = "OBX-3"
table = "northside-loinc"

[[destination]]
name    = "ehr"
to      = "mllp://ehr.example:2576"
convert = "channel_fakes:convert"
when    = { abnormal = ["HH", "LL"] }
retry   = { attempts = 5, first = "2s", cap = "5m", give_up = "2d" }
"""


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The registry knows the fakes only, so that these tests are of the reader alone."""
    monkeypatch.setattr(registry, "CONNECTORS", {"mllp": FAKES, "files": FAKES})
    monkeypatch.setattr(registry, "FORMATS", {"hl7v2": f"{FAKES}:Format"})
    _forget()
    yield
    _forget()


def _forget() -> None:
    for cached in (registry.connector, registry.format, registry.resolve, registry.code):
        cached.cache_clear()


def write(root: Path, text: str = GOOD, name: str = "good") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "channel.toml").write_text(text, encoding="utf-8")
    return folder


def faults_of(root: Path, text: str, known: Known | None = None) -> list[str]:
    """Each fault from its line on."""
    channel, faults = inspect_channel(write(root, text), known or Known())
    assert (channel is None) == any(fault.severity == "error" for fault in faults)
    return [str(fault).partition("channel.toml:")[2] for fault in faults]


def test_a_good_channel_is_read_completely(tmp_path: Path) -> None:
    channel = read_channel(write(tmp_path), Known(tables={"northside-loinc"}))
    assert (channel.name, channel.kind, channel.owner, channel.environment) == ("good", "result", "site", "test")
    assert channel.source == SourceSpec(
        listen="mllp://127.0.0.1:2575",
        accept=("ORU^R01",),
        timezone="America/Chicago",
        patient_authority="NSH",
        patient_type="MR",
        options={"idle_timeout": "5m"},
    )
    assert channel.duplicates_within == 7 * DAY
    assert [(m.field, m.table, m.unmapped, m.alternate) for m in channel.maps] == [
        ("OBX-3", "northside-loinc", "pass", "hold")
    ]
    (ehr,) = channel.destinations
    assert ehr.when == {"abnormal": ("HH", "LL")}
    assert ehr.retry == Retry(5, 2_000_000, 300_000_000, 2 * DAY)
    assert channel.text == GOOD
    assert len(channel.revision) == 12


@pytest.mark.parametrize(
    ("kind", "unmapped", "in_doubt"),
    [
        ("result", "pass", "resend"),
        ("message", "pass", "resend"),
        ("order", "hold", "resend"),
        ("claim", "hold", "resend"),
        ("prescription", "hold", "hold"),
    ],
)
def test_defaults_follow_the_class(tmp_path: Path, kind: str, unmapped: str, in_doubt: str) -> None:
    channel = read_channel(write(tmp_path, GOOD.replace('"result"', f'"{kind}"')))
    assert channel.maps[0].unmapped == unmapped
    assert channel.destinations[0].in_doubt == in_doubt


FAULTS = [
    ('title       = "A', 'titel       = "A', '2: unknown key "titel"; did you mean "title"?'),
    ('title       = "A good channel"\n', "", '1: "title" is missing; write for example title = '),
    ('"result"', '"results"', '3: "class" must be one of "message", "order", "prescription", "claim", "result"'),
    ('name        = "good"', 'name = "other"', '1: the channel is named "other" and its folder "good"'),
    (
        'name        = "good"',
        'name = "Good One"',
        '1: a channel\'s name has a-z, 0-9 and single hyphens only; for example "good-one"',
    ),
    ('"mllp://127.0.0.1:2575"', '"mlpp://127.0.0.1:2575"', '7: no connector serves "mlpp"; did you mean "mllp"?'),
    ('"mllp://127.0.0.1:2575"', '"mllp://127.0.0.1:99999"', "7: the URL's host or port cannot be read"),
    ('"mllp://127.0.0.1:2575"', '"mllp://nowhere:1"', "7: reading `listen`: nobody can listen there; Listen here."),
    ('"mllp://127.0.0.1:2575"', "2575", '7: "listen" must be text in quotes'),
    ('["ORU^R01"]', '["ORU^R01", "oru"]', '8: "oru" is no message type'),
    ("America/Chicago", "America/Chikago", '9: unknown timezone "America/Chikago"; did you mean "America/Chicago"?'),
    ("authority =", "autority =", '10: unknown key "autority"; did you mean "authority"?'),
    ("idle_timeout", "idle_timout", '11: there is no option "idle_timout"; Did you mean "idle_timeout"?'),
    ('"5m" }', "5 }", '11: reading option "idle_timeout": a duration is a number'),
    ('within = "7d"', "within = 7", '14: "within" must be a duration in quotes'),
    ('"OBX-3"', '"OBX-3.1"', '17: "OBX-3.1" is not a field; write segment and number, for example "OBX-3"'),
    ('"OBX-3"', '"PID-5"', "17: PID-5 is not a coded field"),
    (
        '"northside-loinc"',
        '"northside-loink"',
        '18: there is no table "northside-loink"; did you mean "northside-loinc"?',
    ),
    ('"mllp://ehr.example:2576"', '"ftp://ehr.example"', '22: no connector serves "ftp"'),
    (":convert", ":konvert", '23: resolving "channel_fakes:konvert": the module has no "konvert"; it has '),
    (
        ":convert",
        ":convert_too_short",
        '23: "channel_fakes:convert_too_short" does not take (parsed, tables',
    ),
    (":convert", ":convert_later", '23: "channel_fakes:convert_later" is asynchronous'),
    (":convert", ":NOT_A_FUNCTION", '23: resolving "channel_fakes:NOT_A_FUNCTION": it is not a function'),
    (
        "channel_fakes:convert",
        "no.such.module:f",
        '23: resolving "no.such.module:f": importing no.such.module',
    ),
    ("channel_fakes:convert", "nonsense", '23: resolving "nonsense": write it as package.module:function'),
    ("{ abnormal =", "{ abnormals =", '24: unknown fact "abnormals"; did you mean "abnormal"?'),
    ('["HH", "LL"]', "[1]", '24: "abnormal" must be a list of texts in quotes'),
    (
        '{ abnormal = ["HH", "LL"] }',
        '"channel_fakes:convert"',
        '24: "channel_fakes:convert" does not take (identity)',
    ),
    ("attempts = 5", "attempts = 0", '25: "attempts" must be a whole number of at least 1'),
    ('first = "2s"', 'first = "6m"', "25: the first wait is longer than the cap"),
    ('cap = "5m"', 'cap = "3d"', "25: the longest wait is longer than give_up"),
    ("attempts = 5", "atempts = 5", '25: unknown key "atempts"; did you mean "attempts"?'),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS)
def test_each_fault_names_its_line_and_what_to_write(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = faults_of(tmp_path, GOOD.replace(old, new, 1), Known(tables={"northside-loinc"}))
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_every_fault_is_reported_not_only_the_first(tmp_path: Path) -> None:
    text = GOOD
    for old, new in [("title  ", "titel  "), ("America/Chicago", "Mars"), ('"OBX-3"', '"X"'), ('"2s"', '"soon"')]:
        text = text.replace(old, new, 1)
    assert [line.partition(":")[0] for line in faults_of(tmp_path, text)] == ["2", "9", "17", "25"]


def test_a_predicate_may_take_the_place_of_facts(tmp_path: Path) -> None:
    text = GOOD.replace('{ abnormal = ["HH", "LL"] }', '"channel_fakes:wanted"')
    assert read_channel(write(tmp_path, text)).destinations[0].when == "channel_fakes:wanted"


def test_two_destinations_need_two_names(tmp_path: Path) -> None:
    text = GOOD + '\n[[destination]]\nname = "ehr"\nto = "mllp://other.example:1"\n'
    assert faults_of(tmp_path, text) == ['28: two destinations are named "ehr"; rename one']


@pytest.mark.parametrize(
    ("answering", "expected"),
    [(0, "9: no destination answers the sender"), (1, ""), (2, "32: a second destination answers the sender")],
)
def test_an_application_answer_needs_exactly_one_destination(tmp_path: Path, answering: int, expected: str) -> None:
    text = GOOD.replace("timezone =", 'answer = "application"\ntimezone =')
    for at in range(2):
        text = text if at == 0 else text + '\n[[destination]]\nname = "b"\nto = "mllp://b.example:1"\n'
        text += "answers = true\n" if at < answering else ""
    found = faults_of(tmp_path, text)
    assert [line.startswith(expected) for line in found] == ([True] if expected else [])


def test_answers_without_an_application_answer_is_a_warning(tmp_path: Path) -> None:
    assert faults_of(tmp_path, GOOD + "answers = true\n")[0].startswith("26: warning: answers has no effect")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('secret = "hunter2"', "26: a secret is written by reference, never itself"),
        ('secret = "env:NOT_SET"', "26: warning: the environment variable NOT_SET is not set here"),
        ('secret = "env:IS_SET"', ""),
        ('secret = "file:/no/such/file"', "26: warning: reading a secret: the file is missing"),
        ('options = { password = "hunter2" }', "26: a secret is written by reference, never itself"),
    ],
)
def test_secrets_are_references(tmp_path: Path, line: str, expected: str) -> None:
    found = faults_of(tmp_path, GOOD + line + "\n", Known(environ={"IS_SET": "x"}))
    assert [text.startswith(expected) for text in found] == ([True] if expected else []), found
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('conversion = { require = "OBX, ZPI-3" }', ""),
        ('conversion = { requires = "OBX" }', "26: there is no option"),
        ("conversion = { require = 7 }", '26: reading option "require"'),
    ],
)
def test_a_conversion_has_the_knobs_that_its_module_declares(tmp_path: Path, line: str, expected: str) -> None:
    text = GOOD.replace("channel_fakes:convert", "mappings.hl7v2_fhir:transaction")
    found = faults_of(tmp_path, f"{text}{line}\n")
    assert [said.startswith(expected) for said in found] == ([True] if expected else []), found
    without = faults_of(tmp_path, f"{GOOD}{line}\n")
    assert without[0].startswith("26: there is no option")


def test_a_password_in_a_url_is_a_fault_that_does_not_repeat_it(tmp_path: Path) -> None:
    found = faults_of(tmp_path, GOOD.replace("ehr.example", "me:hunter2@ehr.example"))
    assert len(found) == 1
    assert found[0].startswith("22: the URL holds a password")
    assert "hunter2" not in found[0]


def test_organizations_are_judged_only_where_some_are_set_up(tmp_path: Path) -> None:
    text = GOOD.replace("class ", 'owner = "northside"\nclass ')
    assert faults_of(tmp_path, text)[0].startswith("3: warning: no organizations are set up")
    assert faults_of(tmp_path, text, Known(organization=lambda name: name == "northside")) == []
    assert faults_of(tmp_path, text, Known(organization=lambda _: False))[0].startswith(
        '3: there is no organization "nor'
    )


def test_what_is_not_toml_names_the_line(tmp_path: Path) -> None:
    assert faults_of(tmp_path, GOOD.replace("within =", "within"))[0].startswith("14: not TOML: ")
    assert faults_of(tmp_path, 'name = "good')[0].startswith("1: not TOML: ")


def test_what_is_not_text_or_not_there_is_a_fault(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "channel.toml").write_bytes(b"\xff\xfe")
    assert inspect_channel(folder, Known())[1][0].text == "the file is not UTF-8"
    (folder / "channel.toml").unlink()
    assert "reading the file" in inspect_channel(folder, Known())[1][0].text


def two(root: Path, first: str, second: str) -> list[str]:
    write(root, GOOD.replace("mllp://127.0.0.1:2575", first))
    write(root, GOOD.replace("mllp://127.0.0.1:2575", second).replace('"good"', '"two"', 1), "two")
    return [str(fault) for fault in read_site(root).faults]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("mllp://127.0.0.1:2575", "mllp://127.0.0.1:2575", True),
        ("mllp://0.0.0.0:2575", "mllp://127.0.0.1:2575", True),
        ("mllp://127.0.0.1:2575", "mllp://127.0.0.2:2575", False),
        ("mllp://127.0.0.1:2575", "mllp://127.0.0.1:2576", False),
        ("mllp://127.0.0.1:0", "mllp://127.0.0.1:0", False),
        ("files:///in", "files:///in/", True),
        ("files:///in", "files:///out", False),
    ],
)
def test_two_channels_must_not_listen_at_one_place(tmp_path: Path, first: str, second: str, clash: bool) -> None:
    found = two(tmp_path, first, second)
    assert len(found) == clash
    if clash:
        assert found[0].endswith(
            'two/channel.toml:7: channel "good" listens there already; choose another port or folder'
        )


def test_a_running_channel_keeps_its_place(tmp_path: Path) -> None:
    two(tmp_path, "mllp://127.0.0.1:2575", "mllp://127.0.0.1:2575")
    assert list(read_site(tmp_path).channels) == ["good"]
    assert list(read_site(tmp_path, Known(running=frozenset({"two"}))).channels) == ["two"]


def test_a_reload_adds_changes_removes_and_keeps_what_is_broken(tmp_path: Path) -> None:
    for number, name in enumerate(("same", "edited", "gone", "spoilt")):
        write(tmp_path, GOOD.replace('"good"', f'"{name}"', 1).replace("2575", str(3000 + number)), name)
    running = read_site(tmp_path).channels
    assert len(running) == 4
    (tmp_path / "same" / "channel.toml").touch()
    edited = (tmp_path / "edited" / "channel.toml").read_text().replace('"7d"', '"8d"')
    write(tmp_path, edited, "edited")
    (tmp_path / "gone" / "channel.toml").unlink()
    (tmp_path / "gone").rmdir()
    write(tmp_path, "name =", "spoilt")
    write(tmp_path, GOOD.replace('"good"', '"fresh"', 1), "fresh")
    changes = diff(running, read_site(tmp_path))
    assert changes.added == ("fresh",)
    assert changes.changed == ("edited",)
    assert changes.removed == ("gone",)
    assert changes.kept == ("spoilt",)


def test_a_missing_folder_is_a_fault(tmp_path: Path) -> None:
    assert read_site(tmp_path / "none").faults[0].text == "there is no such folder"


def test_hidden_and_private_folders_are_no_channels(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    assert read_site(tmp_path).faults == ()


def test_the_revision_follows_the_code_that_a_channel_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "site_code_for_revision.py"
    code.write_text("def convert(parsed, tables, context): return 1\n")
    text = GOOD.replace("channel_fakes", "site_code_for_revision")
    first = read_channel(write(tmp_path, text))
    code.write_text("def convert(parsed, tables, context): return 22\n")
    channel, faults = inspect_channel(write(tmp_path, text), Known())
    assert channel is not None
    assert channel.revision == first.revision, "what runs is what was loaded, whatever the file says now"
    assert [fault.severity for fault in faults] == ["warning"]
    assert "restart" in str(faults[0])
    registry.code.cache_clear()
    assert read_channel(tmp_path / "good").revision != first.revision


READERS: dict[str, Callable[[Any], object]] = {"duration": read_duration, "size": read_size, "texts": tuple}


def _specified(keys: tuple[Key, ...], spec: type[Any]) -> list[tuple[str, object, object]]:
    """Each key's documented default beside the dataclass's."""
    fields = {f.name: f for f in dataclasses.fields(spec)}
    pairs = []
    for key in keys:
        default = fields[key.name].default if key.name in fields else dataclasses.MISSING
        if default is not dataclasses.MISSING and not key.required and " " not in key.default:
            value = tomllib.loads(f"v = {key.default}")["v"]
            read: Callable[[Any], object] = READERS.get(key.kind, lambda given: given)
            pairs.append((key.name, read(value), default))
    return pairs


@pytest.mark.parametrize(("keys", "spec"), [(SOURCE, SourceSpec), (DESTINATION, DestinationSpec), (RETRY, Retry)])
def test_documented_defaults_are_the_real_ones(keys: tuple[Key, ...], spec: type[Any]) -> None:
    pairs = _specified(keys, spec)
    assert len(pairs) >= 4
    assert [pair for pair in pairs if pair[1] != pair[2]] == []


STRANGE = [
    "1",
    "-1",
    "1.5",
    "true",
    '""',
    '"x"',
    "[]",
    "{}",
    "[1]",
    "[{}]",
    "{ a = {} }",
    "2026-01-05",
    '["a", 1]',
    "nan",
]


@pytest.mark.parametrize("value", STRANGE)
def test_no_value_of_any_key_breaks_the_reader(tmp_path: Path, value: str) -> None:
    """Whatever stands behind a key: a fault or a channel, never an exception."""
    for line in GOOD.splitlines():
        name, equals, _ = line.partition("=")
        if equals:
            faults_of(tmp_path, GOOD.replace(line, f"{name}= {value}", 1))
    for key in SOURCE:
        faults_of(tmp_path, GOOD.replace("[source]\n", f"[source]\n{key.name} = {value}\n", 1))
    for key in DESTINATION:
        faults_of(tmp_path, f"{GOOD}\n[[destination]]\n{key.name} = {value}\n")


@pytest.mark.parametrize(
    "text", ["", "source = 1", "[[source]]", "[destination]", "map = 1", "[map]", "[[duplicates]]", "[[a.b]]"]
)
def test_no_shape_of_the_file_breaks_the_reader(tmp_path: Path, text: str) -> None:
    assert faults_of(tmp_path, text)


@pytest.mark.parametrize("there", [False, True])
def test_a_gone_folder_or_one_that_cannot_be_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def fails(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    write(tmp_path)
    running = dict(read_site(tmp_path).channels)
    if there:
        monkeypatch.setattr(Path, "iterdir", fails)
    site = read_site(tmp_path if there else tmp_path / "none")
    changes = diff(running, site)
    assert not site.sound and not site.channels
    assert (changes.removed, changes.kept) == ((), ("good",))


def test_an_empty_folder_removes_every_channel(tmp_path: Path) -> None:
    write(tmp_path)
    running = dict(read_site(tmp_path).channels)
    (tmp_path / "empty").mkdir()
    assert diff(running, read_site(tmp_path / "empty")).removed == ("good",)
