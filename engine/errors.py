"""Every error the engine raises on purpose, each with its code, class, answer and advice.

The texts never contain a field's value: they may be logged, answered and shown.

    InterlockError
    ├── Refused                 answered negatively before anything is kept
    │   ├── ChannelNotTaking    the channel is stopped or the process is ending
    │   ├── TooLarge            above the channel's size limit
    │   ├── WrongEnvironment    production traffic without an agreement, or test traffic that is not synthetic
    │   └── NotAccepted         type, sender or receiver that the channel does not take
    ├── Unroutable              kept, held and answered positively: a site's own rule raised
    ├── Unreadable              admitted, kept, held and answered negatively: not a message of its format
    ├── StoreUnavailable        nothing could be made durable: answered negatively, the sender must resend
    │   └── RowRefused          a row that can never be stored: trying again is no use
    ├── Held                    a conversion that must not go on: the delivery waits for a person
    ├── Configuration           a fault in a channel, a table or a setting, with file and line
    ├── Conflict                a person's command that no longer applies
    ├── NotFound                nothing of that name or id
    └── UnsafeStore             the store refuses to start: wrong key, unsafe setting, newer schema
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.model import Finding


class Weight(StrEnum):
    """What a failure means for the next try: the three classes on which `settle` decides."""

    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    PERMANENT = "permanent"


class Reply(StrEnum):
    """What the sender is told: accept, error (may be sent again) or reject (will never be taken)."""

    ACCEPT = "accept"
    ERROR = "error"
    REJECT = "reject"


class InterlockError(Exception):
    """The root. `code` is stable and documented; `advice` says what to do next; `where` locates without a value."""

    code = "error"
    weight = Weight.PERMANENT
    reply = Reply.ERROR
    advice = ""

    def __init__(self, text: str, *, code: str = "", where: str = "", advice: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code or type(self).code
        self.where = where
        self.advice = advice or type(self).advice


class Refused(InterlockError):
    """Not taken: answered negatively; only time, channel, size and a keyed hash are kept."""

    code = "refused"
    reply = Reply.REJECT


class ChannelNotTaking(Refused):
    """The channel is stopped or paused, or the process is ending."""

    code = "channel_not_taking"
    weight = Weight.TRANSIENT
    reply = Reply.ERROR
    advice = "Send again later; `interlock channel list` shows the channel's state."


class TooLarge(Refused):
    """Above the channel's `max_size`."""

    code = "too_large"
    advice = "Raise `max_size` of the channel's source, or send less in one message."


class WrongEnvironment(Refused):
    """Production traffic without a confirmed agreement, or test traffic that is not synthetic."""

    code = "wrong_environment"
    advice = "Confirm the agreement with `interlock serve --agreements-in-place`, or send to a test channel."


class NotAccepted(Refused):
    """A type, sender or receiver that the channel does not take."""

    code = "not_accepted"
    advice = "Compare the channel's `accept` list with what the sender sends."


class Unreadable(InterlockError):
    """Admitted, but not a message of its format: stored, held, and answered negatively."""

    code = "unreadable"
    reply = Reply.ERROR
    advice = "See the held message with `interlock deadletter list`; ask the sender to correct and resend."


class Unroutable(InterlockError):
    """A site's own predicate raised: the message is kept and held, for nobody can say where it should go."""

    code = "predicate_failed"
    reply = Reply.ACCEPT
    advice = "Mend the predicate that `when` names, then replay the message."


class StoreUnavailable(InterlockError):
    """Nothing could be made durable, so nothing may be answered positively."""

    code = "store_unavailable"
    weight = Weight.TRANSIENT
    reply = Reply.ERROR
    advice = "The sender must send again. Free disk space in the data folder; /readyz says when the store is back."


class RowRefused(StoreUnavailable):
    """A row that the store can never keep, e.g. one that is too large: trying again is no use."""

    code = "row_refused"
    weight = Weight.PERMANENT
    advice = "See the log for what was refused."


class Held(InterlockError):
    """A conversion that must not go on by itself: the delivery keeps its place and waits for a person.

    `findings` become items beside it: what a person should know of the reason.
    """

    code = "held"

    def __init__(
        self, text: str, *, code: str = "", where: str = "", advice: str = "", findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(text, code=code, where=where, advice=advice)
        self.findings = findings


class Configuration(InterlockError):
    """A fault in a channel, a table or a setting. `where` is file:line."""

    code = "configuration"


class Conflict(InterlockError):
    """A person's command that no longer applies: somebody or something else was first."""

    code = "conflict"
    advice = "Look again with `interlock trace ID` before you repeat the command."


class NotFound(InterlockError):
    """Nothing of that name or id."""

    code = "not_found"


class UnsafeStore(InterlockError):
    """The store refuses to start rather than risk what it promises."""

    code = "unsafe_store"
