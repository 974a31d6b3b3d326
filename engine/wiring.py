"""A channel as the path sees it: frozen, checked, complete. `channel.py` reads one from TOML.

One folder, one channel; a revision names the exact wiring that a message met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

ClassOfMessage = Literal["message", "order", "prescription", "claim", "result"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long a delivery is tried. Durations in microseconds; waits are full jitter below the cap."""

    attempts: int = 8
    first: int = 1_000_000
    cap: int = 10 * MINUTE
    give_up: int = 7 * DAY


@dataclass(frozen=True, slots=True)
class MapRule:
    """One `[[map]]`: the code in `field` is looked up in `table` before conversion."""

    field: str
    table: str
    unmapped: Literal["pass", "hold"]
    alternate: Literal["hold", "replace"] = "hold"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where messages come from and what is taken. `options` are the connector's own knobs, already checked."""

    listen: str
    accept: tuple[str, ...] = ()  # "ORU^R01", "ORU", "*"; empty takes every type
    answer: Literal["commit", "application"] = "commit"
    answer_within: int = 30_000_000
    timezone: str = ""  # IANA name for times without an offset; empty: such times stay without one
    format: str = "hl7v2"
    max_size: int = 64 * 1024 * 1024
    patient_authority: str = ""  # the assigning authority whose identifier is the order key
    patient_type: str = ""  # e.g. "MR"
    control_id: Literal["lenient", "strict"] = "lenient"
    validate: Literal["", "hl7apy", "shape", "off"] = ""
    fhir_version: Literal["R4", "R5", "STU3"] = "R4"  # of a source whose format is fhir
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DestinationSpec:
    """Where a channel's messages go, in what form, in what order, and what happens when it does not work."""

    name: str
    to: str
    organization: str = ""  # `for`: an accepted connection is required once organizations are set up
    convert: str = ""  # dotted "package.module:function"; empty sends the message as it came (after its maps)
    conversion: Mapping[str, str | int | float | bool] = field(default_factory=dict)  # the conversion's own knobs
    when: Mapping[str, tuple[str, ...]] | str = field(default_factory=dict)  # facts, or a dotted predicate
    order: Literal["patient", "order", "channel", "none"] = "patient"
    behind: Literal["", "wait", "pass"] = ""  # "" is the rule of the channel's class
    retry: Retry = field(default_factory=Retry)
    in_doubt: Literal["resend", "ask", "hold"] = "resend"
    delivered_at: Literal["commit", "application"] = "commit"
    timeout: int = 30_000_000  # of one answer
    connections: int = 4
    answers: bool = False
    secret: str = ""  # a reference such as env:NAME or file:PATH, never the secret itself
    validate: Literal["off", "shape", "profile"] = "off"  # of FHIR R4 output, before it is claimed
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, ready to run."""

    name: str
    title: str
    kind: ClassOfMessage  # `class` in the file
    source: SourceSpec
    destinations: tuple[DestinationSpec, ...]
    owner: str = "site"
    environment: Literal["production", "test"] = "production"
    duplicates_within: int = 30 * DAY
    maps: tuple[MapRule, ...] = ()
    own_maps: Mapping[str, str] = field(default_factory=dict)  # by file name the text of maps/*.csv beside the file
    revision: str = ""  # hash of channel.toml, of its own maps and of the site code it names
    folder: Path = Path()
    text: str = ""  # channel.toml as read, kept with the revision

    def destination(self, name: str) -> DestinationSpec | None:
        """The destination of that name, or None when this revision has none."""
        return next((d for d in self.destinations if d.name == name), None)
