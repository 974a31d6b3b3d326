"""identify: what does the message say of itself?

Invariant: a message that was admitted and cannot be read is kept and held; this step only says that it cannot.
"""

from __future__ import annotations

from engine.errors import Unreadable
from engine.model import Identifier, Identity
from engine.ports import Running


def identify(raw: bytes, running: Running) -> Identity:
    """Read routing keys and facts.

    Raises:
        Unreadable: it is not a message of the channel's format.
    """
    identity = running.format.identify(raw)
    if not identity.type:
        raise Unreadable("the message does not say what type it is", code="type_missing", where="MSH-9")
    return identity


def patient_of(identifiers: tuple[Identifier, ...], authority: str, kind: str) -> str:
    """The order key of a patient: the identifier of the declared authority and type, else the first one.

    The authority is part of the key: one number from two authorities is two patients.
    """
    for identifier in identifiers:
        if (not authority or _namespace(identifier.authority) == authority) and (not kind or identifier.type == kind):
            return f"{identifier.value}\n{identifier.authority}"
    if not identifiers:
        return ""
    return f"{identifiers[0].value}\n{identifiers[0].authority}"


def _namespace(authority: str) -> str:
    """The namespace part of a CX.4: its first sub-component."""
    return authority.split("&", 1)[0]
