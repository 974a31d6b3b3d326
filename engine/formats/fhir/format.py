"""FHIR in JSON as one of the engine's formats.

A message is never changed: what is read for a check or a comparison is thrown away, and the bytes go on as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.errors import Unreadable
from engine.formats.fhir import answers, canonical, identity
from engine.formats.fhir.bundles import Json
from engine.formats.fhir.reading import read
from engine.formats.fhir.shape import Version, shape
from engine.model import Finding, Identity, Verdict
from engine.wiring import SourceSpec

_BEFORE = b"\xef\xbb\xbf \t\r\n"
_REMEMBERED_BYTES = 256 * 1024
_TOLD = 20  # issues in one answer


class Fhir:
    """The format port (`engine.ports.Format`) for FHIR in JSON; `validate` off leaves out the check of the shape."""

    kind = "fhir"
    effort = 16
    """How many times longer than HL7 v2 it takes to read a message of the same size, its check included."""

    def __init__(self, version: Version = "R4", validate: Literal["shape", "off"] = "shape") -> None:
        self._version = version
        self._validate = validate
        self._latest: tuple[bytes, Json] | None = None

    def of(self, spec: SourceSpec) -> Fhir:
        """The format as a channel's source wants it."""
        return Fhir(spec.fhir_version, "off" if spec.validate == "off" else "shape")

    def sniff(self, raw: bytes) -> bool:
        """True when the bytes begin like JSON and name a resource type."""
        return raw[:64].lstrip(_BEFORE)[:1] == b"{" and b'"resourceType"' in raw[:65536]

    def split(self, raw: bytes) -> list[bytes]:
        """The one message, or each line of NDJSON. A Bundle stays whole: what it means, it means together."""
        lines = raw.removeprefix(_BEFORE[:3]).splitlines() if b"\n{" in raw else []
        full = [line for line in lines if line.strip()]
        if len(full) > 1 and all(line.startswith(b"{") and line.rstrip().endswith(b"}") for line in full):
            return full
        return [raw]

    def read(self, raw: bytes) -> Json:
        """Parse to plain dicts and lists, decimals as Decimal. Raises `Unreadable`."""
        return read(raw)

    def identify(self, raw: bytes) -> Identity:
        """Routing keys and facts, once the shape is right. Raises `Unreadable`."""
        message = self._read(raw)
        if found := self._findings(message):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            raise Unreadable(f"checking the shape: {found[0].text}{more}", code="not_valid", where=found[0].where)
        return identity.identify(message, self._version)

    def canonical(self, raw: bytes) -> bytes:
        """The bytes whose hash says whether two messages have the same content. Raises `Unreadable`."""
        return canonical.canonical(self._read(raw))

    def answer(self, identity: Identity | None, raw: bytes, verdict: Verdict) -> bytes | None:
        """A Bundle's response or an OperationOutcome. Never raises."""
        try:
            message = self._read(raw)
        except Unreadable:
            return answers.answer(None, verdict)
        findings = self._findings(message)[:_TOLD] if verdict.code == "not_valid" else ()
        return answers.answer(message, verdict, findings)

    def _findings(self, message: Json) -> Sequence[Finding]:
        return shape(message, self._version) if self._validate == "shape" else ()

    def _read(self, raw: bytes) -> Json:
        """Read once for the steps of the receive half, which ask one after another."""
        latest = self._latest
        if latest is not None and latest[0] is raw:
            return latest[1]
        message = read(raw)
        if len(raw) <= _REMEMBERED_BYTES:
            self._latest = (raw, message)
        return message
