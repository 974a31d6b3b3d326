"""What the demo promises, compared with what the laboratory was told and what the EHRs hold.

The EHRs are asked what they have, never the engine what it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.demo.ehr import FhirEhr, MllpEhr
from engine.demo.laboratory import UNMAPPED_CODE, Answered, Kind, Result
from engine.demo.screen import Check, Counts, count_of

_ON_ITS_WAY = ("queued", "claimed", "in doubt")
_STATUS = {"P": "preliminary", "F": "final", "C": "corrected"}


def checks(answers: Sequence[Answered], fhir: FhirEhr, mllp: MllpEhr, channels: Sequence[Counts]) -> list[Check]:
    """Every expectation of the story, kept or not."""
    sent = [answer.result for answer in answers]
    readable = [message for message in sent if message.arrives]
    safe = {answer.result.control_id for answer in answers if answer.positive}
    counts, there = mllp.counts(), statuses(fhir)
    latest = {message.order: _STATUS[message.status] for message in readable if message.control_id in safe}
    return [
        Check("results answered positively", len(readable), sum(a.positive for a in answers if a.result.arrives)),
        Check("unreadable message answered negatively", 1, sum(_refused(answer) for answer in answers)),
        Check("different results in the MLLP EHR", len(safe), len(counts.keys() & safe)),
        Check("results there more than once", 0, sum(count > 1 for count in counts.values())),
        Check("orders at their latest status in the FHIR EHR", len(latest), _agreeing(latest, there)),
        Check("unmapped code went on as the laboratory sent it", 1, _with_code(fhir, UNMAPPED_CODE)),
        Check("unreadable message held for a person", 1, sum(count_of(c, "held") or 0 for c in channels)),
        Check("resends recognised", _resent(sent), sum(count_of(c, "duplicate") or 0 for c in channels)),
    ]


def settled(channels: Sequence[Counts], sent: int) -> bool:
    """Whether the engine has counted every message sent and nothing is on its way any more."""
    received = sum(count_of(channel, "received") or 0 for channel in channels)
    places = [place for channel in channels for place in channel.get("destinations", ())]
    return received >= sent and not any(count_of(place, state) for place in places for state in _ON_ITS_WAY)


def balance_check(status: int) -> Check:
    """What `interlock balance` said by its exit status."""
    return Check("balance", "closed", {0: "closed", 1: "open"}.get(status, f"no answer ({status})"))


def statuses(fhir: FhirEhr) -> dict[str, str]:
    """The status of each order's report in the FHIR EHR, by any identifier the report carries."""
    return {
        identifier.get("value", ""): report.get("status", "")
        for report in fhir.of_type("DiagnosticReport")
        for identifier in report.get("identifier", ())
    }


def worth_a_look(messages: Sequence[Result]) -> list[Result]:
    """One message of each kind that a reader may want to trace."""
    kinds = (Kind.UNMAPPED, Kind.CORRECTION, Kind.CRITICAL)
    return [next(message for message in messages if message.kind is kind) for kind in kinds]


def _refused(answer: Answered) -> bool:
    return not answer.result.arrives and answer.code != "" and not answer.positive


def _resent(sent: Sequence[Result]) -> int:
    return sum(message.kind is Kind.RESEND for message in sent)


def _agreeing(latest: dict[str, str], there: dict[str, str]) -> int:
    return sum(there.get(order) == status for order, status in latest.items())


def _with_code(fhir: FhirEhr, code: str) -> int:
    """How many observations carry a code."""

    def codes(observation: dict[str, Any]) -> list[str]:
        return [coding.get("code", "") for coding in observation.get("code", {}).get("coding", ())]

    return sum(code in codes(observation) for observation in fhir.of_type("Observation"))
