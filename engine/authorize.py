"""authorize: may this message, by what it says of itself, go through this channel?

Invariant: production data never enters a test channel, and test data never leaves one.
"""

from __future__ import annotations

from engine.errors import NotAccepted, WrongEnvironment
from engine.model import Identifier, Identity
from engine.ports import Running

SYNTHETIC_AUTHORITY = "INTERLOCK-TEST"
"""The assigning authority that marks invented patients: the only one a test channel takes."""

_PLACES = {"fhir": ("resourceType", "meta.tag", "identifier", "identifier")}
_OF_HL7V2 = ("MSH-9", "MSH-11", "PID-3", "PID-19")
"""Where a message says its type, its environment, its patient and a social security number."""


def authorize(identity: Identity, running: Running) -> None:
    """Check type and environment.

    Raises:
        NotAccepted, WrongEnvironment: the sender is told, nothing is kept.
    """
    channel = running.channel
    kind, environment, *_ = _PLACES.get(identity.format, _OF_HL7V2)
    if not _takes(channel.source.accept, identity.type):
        raise NotAccepted(f"channel {channel.name} does not take this type of message", where=kind)
    if channel.environment == "test":
        _check_synthetic(identity)
    elif identity.processing not in ("P", ""):
        raise WrongEnvironment(f"a production channel takes {environment} P, or none", where=environment)


def _takes(accepted: tuple[str, ...], kind: str) -> bool:
    """True for a type that is listed, whole or by its beginning: `ORU` takes ORU^R01, `Bundle` takes Bundle/batch."""
    if not accepted or kind in accepted or "*" in accepted:
        return True
    return any(kind.startswith((f"{name}^", f"{name}/")) for name in accepted)


def _check_synthetic(identity: Identity) -> None:
    """Deny by default: every identifier of the patient, wherever it stands, must be of the synthetic authority."""
    _, environment, patient, social = _PLACES.get(identity.format, _OF_HL7V2)
    if identity.processing not in ("T", "D"):
        raise WrongEnvironment(f"a test channel takes {environment} T or D only", where=environment)
    patients = (*identity.patients, *identity.prior_patients)
    if not patients or not all(_synthetic(patient) for patient in patients):
        raise WrongEnvironment(
            f"a test channel takes patients of the assigning authority {SYNTHETIC_AUTHORITY} only", where=patient
        )
    if any(authority != SYNTHETIC_AUTHORITY for authority in identity.facts.get("other_patient_authority", ())):
        raise WrongEnvironment("an identifier of the patient is of another authority", where="PID")
    if identity.facts.get("social_security"):
        raise WrongEnvironment("a test channel takes no social security number", where=social)


def _synthetic(patient: Identifier) -> bool:
    return patient.authority.split("&", 1)[0] == SYNTHETIC_AUTHORITY
