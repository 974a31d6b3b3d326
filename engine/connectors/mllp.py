"""HL7 v2 over MLLP, with or without TLS: the connector of mllp:// and mllps://.

`mllp_source` listens, `mllp_destination` sends; the framing that both stand on is in `framing`.
"""

from __future__ import annotations

from engine.connectors.mllp_destination import DESTINATION_KNOBS, MllpDestination
from engine.connectors.mllp_source import SOURCE_KNOBS, MllpSource
from engine.ports import Destination, Source
from engine.wiring import DestinationSpec, SourceSpec

__all__ = ["DESTINATION_KNOBS", "SOURCE_KNOBS", "MllpDestination", "MllpSource", "destination", "source"]


def source(channel: str, spec: SourceSpec) -> Source:
    """The source of mllp(s)://host:port. Raises `Configuration`."""
    return MllpSource(channel, spec)


def destination(channel: str, spec: DestinationSpec) -> Destination:
    """The destination of mllp(s)://host:port. Raises `Configuration`."""
    return MllpDestination(channel, spec)
