"""Every key of channel.toml: its type, default, meaning and an example, declared once.

The reader, the check and docs/channels.md all follow these tables, so that none of them can say something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "texts", "choice", "flag", "count", "duration", "size", "table", "facts or name", "options"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` is written as a channel would write it, or says in words what it depends on."""

    name: str
    kind: Kind
    meaning: str
    example: str
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    nonzero: bool = False


CHANNEL = (
    Key("name", "text", "The channel's name: the name of its folder.", '"northside-lab-results"', required=True),
    Key("title", "text", "What people see.", '"Northside results to the EHR"', required=True),
    Key("owner", "text", "The organization that owns the channel.", '"northside-laboratory"', '"site"'),
    Key(
        "class",
        "choice",
        "What the messages are; decides what happens with unmapped codes, in doubt, and behind a blocked delivery.",
        '"result"',
        required=True,
        choices=("message", "order", "prescription", "claim", "result"),
    ),
    Key(
        "environment",
        "choice",
        "`test` takes synthetic patients only; `production` needs the confirmed agreement.",
        '"test"',
        '"production"',
        choices=("production", "test"),
    ),
    Key("source", "table", "Where messages come from.", "[source]", required=True),
    Key("duplicates", "table", "How long a resend is recognised.", "[duplicates]", "{}"),
    Key("map", "table", "Codes that are looked up before conversion, one `[[map]]` each.", "[[map]]", "[]"),
    Key("destination", "table", "Where messages go, one `[[destination]]` each.", "[[destination]]", required=True),
)

SOURCE = (
    Key(
        "listen",
        "text",
        "URL where messages come in; its scheme names the connector.",
        '"mllp://0.0.0.0:2575"',
        required=True,
    ),
    Key("accept", "texts", "Message types that are taken; empty or `*` takes every type.", '["ORU^R01"]', "[]"),
    Key(
        "answer",
        "choice",
        "When the sender is answered: once the message is stored, or once a destination has processed it.",
        '"commit"',
        '"commit"',
        choices=("commit", "application"),
    ),
    Key(
        "answer_within",
        "duration",
        'With `answer = "application"`: how long the sender waits.',
        '"20s"',
        '"30s"',
        nonzero=True,
    ),
    Key(
        "timezone",
        "text",
        "IANA zone of times without an offset; without it they stay without.",
        '"America/Chicago"',
        '""',
    ),
    Key("format", "text", "What the messages are written in.", '"hl7v2"', '"hl7v2"'),
    Key("max_size", "size", "The largest message that is taken.", '"16MiB"', '"64MiB"', nonzero=True),
    Key(
        "patient",
        "table",
        "Which of a patient's identifiers keeps messages in order.",
        '{ authority = "NSH", type = "MR" }',
        "{}",
    ),
    Key(
        "control_id",
        "choice",
        "A control id that comes again with other content: `lenient` takes and flags it, `strict` refuses it.",
        '"strict"',
        '"lenient"',
        choices=("lenient", "strict"),
    ),
    Key(
        "validate",
        "choice",
        "How messages are checked: hl7v2 by `hl7apy`, which only reports; fhir by its `shape`, or not at all (`off`).",
        '"hl7apy"',
        "nothing for hl7v2, shape for fhir",
        choices=("", "hl7apy", "shape", "off"),
    ),
    Key(
        "fhir_version",
        "choice",
        "Which FHIR the messages of format fhir are.",
        '"R5"',
        '"R4"',
        choices=("R4", "R5", "STU3"),
    ),
    Key("options", "options", "The connector's own knobs.", '{ idle_timeout = "10m" }', "{}"),
)

PATIENT = (
    Key("authority", "text", "Assigning authority (PID-3.4) of the identifier.", '"NSH"', '""'),
    Key("type", "text", "Identifier type (PID-3.5, HL7 table 0203).", '"MR"', '""'),
)

DUPLICATES = (
    Key(
        "within",
        "duration",
        "How long a resend is recognised and answered as the first time.",
        '"7d"',
        '"30d"',
        nonzero=True,
    ),
)

MAP = (
    Key(
        "field",
        "text",
        "The coded field, by segment and number; every occurrence is looked up.",
        '"OBX-3"',
        required=True,
    ),
    Key("table", "text", "The mapping table.", '"northside-loinc"', required=True),
    Key(
        "unmapped",
        "choice",
        "A code without an entry: `pass` goes on with the local code and opens an item, `hold` waits for a person.",
        '"hold"',
        "pass in class result and message, else hold",
        choices=("pass", "hold"),
    ),
    Key(
        "alternate",
        "choice",
        "Where components 4 to 6 are taken: `hold` the delivery, or `replace` them by the original code.",
        '"replace"',
        '"hold"',
        choices=("hold", "replace"),
    ),
)

DESTINATION = (
    Key("name", "text", "The destination's name, unique in the channel.", '"lee-ehr"', required=True),
    Key(
        "to",
        "text",
        "URL where messages go; its scheme names the connector.",
        '"fhir+https://ehr.example/fhir"',
        required=True,
    ),
    Key("for", "text", "The organization that receives; needs an accepted connection.", '"lee-family-practice"', '""'),
    Key(
        "convert",
        "text",
        "The Python function that converts, as package.module:function; empty sends the message as it is.",
        '"mappings.hl7v2_fhir:transaction"',
        '""',
    ),
    Key("conversion", "options", "The conversion's own knobs.", '{ version = "2.5.1" }', "{}"),
    Key(
        "when",
        "facts or name",
        "Which messages it wants: facts and their values, or a Python predicate.",
        '{ abnormal = ["HH", "LL"] }',
        "{}",
    ),
    Key(
        "order",
        "choice",
        "Messages with the same key arrive in order.",
        '"order"',
        '"patient"',
        choices=("patient", "order", "channel", "none"),
    ),
    Key(
        "behind",
        "choice",
        "Whether later deliveries `wait` behind a held or dead one, or `pass` it.",
        '"wait"',
        "in class result: pass unless the order number is the same, else wait",
        choices=("wait", "pass"),
    ),
    Key("retry", "table", "How often and how long a delivery is tried.", '{ attempts = 5, give_up = "2d" }', "{}"),
    Key(
        "in_doubt",
        "choice",
        "When nobody knows whether the bytes arrived: `resend`, `ask` the destination, or `hold`.",
        '"hold"',
        "hold in class prescription, else resend",
        choices=("resend", "ask", "hold"),
    ),
    Key(
        "delivered_at",
        "choice",
        "How far a positive answer must reach: stored there, or processed there.",
        '"application"',
        '"commit"',
        choices=("commit", "application"),
    ),
    Key("timeout", "duration", "How long one answer may take.", '"10s"', '"30s"', nonzero=True),
    Key("connections", "count", "How many connections at most.", "8", "4"),
    Key(
        "answers",
        "flag",
        "With `answer = \"application\"`: this destination's answer is the sender's.",
        "true",
        "false",
    ),
    Key(
        "secret",
        "text",
        "Reference to the credential, `env:NAME` or `file:PATH`; never the credential.",
        '"env:LEE_EHR_TOKEN"',
        '""',
    ),
    Key(
        "validate",
        "choice",
        "How FHIR R4 output is checked before it is sent; what fails is held. `shape` and `profile` need an extra.",
        '"shape"',
        '"off"',
        choices=("off", "shape", "profile"),
    ),
    Key("options", "options", "The connector's own knobs.", '{ tls_ca = "/etc/interlock/ca.pem" }', "{}"),
)

RETRY = (
    Key("attempts", "count", "Transient answers after which a delivery is dead.", "5", "8"),
    Key("first", "duration", "The cap of the first wait; it doubles with each.", '"2s"', '"1s"', nonzero=True),
    Key("cap", "duration", "The longest wait.", '"5m"', '"10m"', nonzero=True),
    Key("give_up", "duration", "How long an unreachable destination is waited for.", '"2d"', '"7d"', nonzero=True),
)

#: Each table of the file, as the documentation heads it.
TABLES: Mapping[str, tuple[Key, ...]] = {
    "channel": CHANNEL,
    "[source]": SOURCE,
    "[source] patient": PATIENT,
    "[duplicates]": DUPLICATES,
    "[[map]]": MAP,
    "[[destination]]": DESTINATION,
    "[[destination]] retry": RETRY,
}
