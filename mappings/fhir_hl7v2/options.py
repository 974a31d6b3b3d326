"""What a destination may say of the messages it takes: their version, ends, event, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.knobs import Knob
from engine.knobs import read_options as read_knobs

#: The versions that can be written, oldest first.
VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7")

#: The messages that `message` can make, as MSH-9 names them.
MESSAGES = ("ORU^R01", "OML^O21", "ORM^O01", "RDE^O11", "OMP^O09", "MDM^T02", "VXU^V04", "ADT")
EVENTS = ("A01", "A03", "A04", "A08", "A31", "A40")

KNOBS = (
    Knob("version", "choice", "2.5.1", "the version of HL7 v2 that is written", VERSIONS),
    Knob("message", "choice", "", "the message to make of what could be several", ("", *MESSAGES)),
    Knob("event", "choice", "", "the event of an ADT message, where the content does not say it", ("", *EVENTS)),
    Knob("order_control", "text", "", "ORC-1 of orders, instead of what the order's status says"),
    Knob("sending_application", "text", "", "MSH-3, instead of what a MessageHeader says"),
    Knob("sending_facility", "text", "", "MSH-4, instead of what a MessageHeader says"),
    Knob("receiving_application", "text", "", "MSH-5, instead of what a MessageHeader says"),
    Knob("receiving_facility", "text", "", "MSH-6, instead of what a MessageHeader says"),
    Knob("profile", "list", "", "MSH-21, with ^ between the parts of each profile's identifier"),
    Knob("coded", "choice", "", "CWE: coded fields have all of CWE before 2.6, too", ("", "CE", "CWE")),
)
"""The knobs of every conversion to HL7 v2."""


@dataclass(frozen=True, slots=True)
class Options:
    """The knobs' values."""

    version: str
    message: str
    event: str
    order_control: str
    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    profile: tuple[str, ...]
    coded: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version, to compare."""
        return _number(self.version)

    def since(self, version: str) -> bool:
        """True when the version is that one or a later one."""
        return _number(self.version) >= _number(version)


def read_options(given: Mapping[str, Any]) -> Options:
    """The options of a destination's conversion.

    Raises:
        Configuration: for a name that is no knob and a value of the wrong kind; a channel that was checked has none.
    """
    return Options(**read_knobs(given, KNOBS, "conversion"))


@lru_cache(maxsize=64)
def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
