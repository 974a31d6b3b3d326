"""The check of what a destination is sent: FHIR R4 output, as far as the destination's `validate` says.

It decides before the claim, so that nothing of an invalid output leaves; what cannot be checked counts as not right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.errors import Held
from engine.formats.fhir.profiles import installed as profiles_installed
from engine.formats.fhir.profiles import profile
from engine.formats.fhir.structure import installed as structure_installed
from engine.formats.fhir.structure import structure
from engine.formats.hl7v2.conformance import Conformance
from engine.large import beside
from engine.model import Finding
from engine.wiring import DestinationSpec

INSTALL = 'pip install "interlock[validate]"'
LIMIT_SECONDS = 60.0
"""Of one check against profiles, with the time to read the definitions when a process begins."""
_UNCHECKED = frozenset({"overrun", "broken"})


class OutputChecks:
    """Checks outputs; the process for profiles is started when it is first needed."""

    def __init__(self, definitions: tuple[Path, ...] = (), limit_seconds: float = LIMIT_SECONDS) -> None:
        self._definitions = definitions
        run = partial(profile, tuple(str(folder) for folder in definitions))
        self._profiles = Conformance(1, limit_seconds, run, "Bundle")

    async def check(self, payload: bytes, spec: DestinationSpec) -> None:
        """Let an output pass, or hold its delivery.

        Raises:
            Held: `output_invalid` with findings, or `output_unchecked` where it could not be checked.
        """
        found: Sequence[Finding] = ()
        if spec.validate != "off":
            self._require(structure_installed(), "fhirkit-rs")
            found = await beside(len(payload), structure, payload)
        if spec.validate == "profile" and not found:
            found = await self._profiled(payload)
        if found:
            text = f"the output has {len(found)} faults; the first one: {found[0].text}"
            items = tuple(map(_item, found))
            raise Held(text, code="output_invalid", where=found[0].where, findings=items)

    async def _profiled(self, payload: bytes) -> list[Finding]:
        self._require(profiles_installed(), "pyfhircheck")
        if not self._definitions:
            advice = "Set INTERLOCK_FHIR_DEFINITIONS to the folders of the definitions, start again, then replay."
            raise Held("no FHIR definitions are set", code="output_unchecked", advice=advice)
        found = await self._profiles.check(payload)
        if found and found[0].code in _UNCHECKED:
            raise Held(found[0].text, code="output_unchecked")
        return found

    def _require(self, there: bool, package: str) -> None:
        if not there:
            raise Held(f"{package} is not installed", code="output_unchecked", advice=f"{INSTALL}, then replay.")

    async def close(self) -> None:
        """End the process, after the check that runs."""
        await self._profiles.close()


def _item(finding: Finding) -> Finding:
    """What a person is shown: the rule and its place, without the number of an entry, so that it is counted once."""
    return Finding("output_invalid", finding.where, finding.text, subject=f"{finding.code} {finding.where}")
