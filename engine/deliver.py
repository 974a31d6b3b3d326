"""deliver: one attempt over the wire, as an outcome.

Invariant: in doubt by policy `ask`, the destination is asked before anything is sent again.
"""

from __future__ import annotations

from engine.errors import InterlockError, Weight
from engine.failpoints import failpoint
from engine.model import Attempt, Outcome, show_id
from engine.ports import Destination, Sending
from engine.wiring import DestinationSpec

UNANSWERED = Outcome("in_doubt_unanswered", Weight.AMBIGUOUS, detail="the destination cannot say whether it arrived")


async def deliver(attempt: Attempt, destination: Destination, spec: DestinationSpec) -> Outcome:
    """Send the sealed output, or ask first where an earlier attempt is in doubt."""
    delivery = attempt.delivery
    sending = Sending(
        show_id(delivery.message),
        show_id(delivery.id),
        attempt.number,
        delivery.channel,
        delivery.destination,
        attempt.content_type,
        bool(attempt.repeats),
    )
    failpoint("deliver.before")
    try:
        if attempt.repeats and spec.in_doubt == "ask":
            known = await destination.ask(attempt.output, sending)
            if known is None or known.taken:
                return known or UNANSWERED
        outcome = await destination.deliver(attempt.output, sending)
    except InterlockError as error:
        outcome = Outcome(error.code, error.weight, detail=error.text)
    failpoint("deliver.after")
    return outcome
