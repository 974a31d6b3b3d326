"""authorize: may this message, by what it says of itself, go through this channel?

Invariant: production data never enters a test channel, and test data never leaves one.
"""

from __future__ import annotations

from engine.errors import NotAccepted, WrongEnvironment
from engine.model import Identifier, Identity
from engine.ports import Running

SYNTHETIC_AUTHORITY = "INTERLOCK-TEST"
"""The assigning authority that marks invented patients: the only one a test channel takes."""


def authorize(identity: Identity, running: Running) -> None:
    """Check type and environment.

    Raises:
        NotAccepted, WrongEnvironment: the sender is told, nothing is kept.
    """
    channel = running.channel
    if not _takes(channel.source.accept, identity.type):
        raise NotAccepted(f"channel {channel.name} does not take this type of message", where="MSH-9")
    if channel.environment == "test":
        _check_synthetic(identity)
    elif identity.processing not in ("P", ""):
        raise WrongEnvironment("a production channel takes MSH-11 P, or none", where="MSH-11")


def _takes(accepted: tuple[str, ...], kind: str) -> bool:
    if not accepted or kind in accepted:
        return True
    return kind.split("^", 1)[0] in accepted or "*" in accepted


def _check_synthetic(identity: Identity) -> None:
    """Deny by default: every identifier of the patient, wherever it stands, must be of the synthetic authority."""
    if identity.processing not in ("T", "D"):
        raise WrongEnvironment("a test channel takes MSH-11 T or D only", where="MSH-11")
    patients = (*identity.patients, *identity.prior_patients)
    if not patients or not all(_synthetic(patient) for patient in patients):
        raise WrongEnvironment(
            f"a test channel takes patients of the assigning authority {SYNTHETIC_AUTHORITY} only", where="PID-3"
        )
    if any(authority != SYNTHETIC_AUTHORITY for authority in identity.facts.get("other_patient_authority", ())):
        raise WrongEnvironment("an identifier of the patient is of another authority", where="PID")
    if identity.facts.get("social_security"):
        raise WrongEnvironment("a test channel takes no social security number", where="PID-19")


def _synthetic(patient: Identifier) -> bool:
    return patient.authority.split("&", 1)[0] == SYNTHETIC_AUTHORITY
