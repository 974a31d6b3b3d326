"""What a destination may say of the messages it takes: their version, ends, event, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.errors import Configuration

#: The versions that can be written, oldest first.
VERSIONS = ("2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a conversion to HL7 v2, as the destination gives them."""

    version: str = "2.5.1"
    message: str = ""  # what `message` makes, e.g. "RDE^O11"; empty: what the content says
    event: str = ""  # of ADT, e.g. "A08"; empty: what the content says
    order_control: str = ""  # ORC-1 of orders; empty: what the status says
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    profile: str = ""  # MSH-21, several with a comma between
    coded: str = ""  # "CWE": coded fields have all of CWE before 2.6, too, as US profiles of 2.5.1 want it

    @property
    def number(self) -> tuple[int, ...]:
        """The version, to compare."""
        return tuple(map(int, self.version.split(".")))

    def since(self, version: str) -> bool:
        """True when the version is that one or a later one."""
        return self.number >= tuple(map(int, version.split(".")))


def read_options(given: Mapping[str, Any]) -> Options:
    """The options among those of a destination; others are its connector's.

    Raises:
        Configuration: for a version or a way of coded fields that cannot be written.
    """
    known = {field.name: str(given[field.name]) for field in fields(Options) if field.name in given}
    found = Options(**known)
    if found.version not in VERSIONS:
        raise Configuration("reading options: this version of HL7 v2 cannot be written", where="version",
                            advice=f"Versions: {', '.join(VERSIONS)}.")  # fmt: skip
    if found.coded not in ("", "CE", "CWE"):
        raise Configuration('reading options: coded is "CE" or "CWE"', where="coded")
    return found
