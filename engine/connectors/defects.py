"""What a source does when `accept`, which promises not to, raises: count it, log it, tell the sender to come again.

Of the exception only its type and place are told, never its values.
"""

from __future__ import annotations

import traceback

from engine import observe
from engine.errors import Reply
from engine.model import Verdict


def accept_failed(channel: str, error: Exception, at: int) -> Verdict:
    """Log and count it; gives the answer to its sender: nobody knows what was kept, and a duplicate is recognised.

    `at` is the time in microseconds since 1970.
    """
    observe.connector_events[channel, "accept_failed"] += 1
    observe.event("accept_failed", channel=channel, error=type(error).__name__, where=_place(error))
    return Verdict(Reply.ERROR, "accept_failed", "taking: something unforeseen; send it again", transient=True, at=at)


def file_failed(channel: str, error: Exception) -> None:
    """Log and count that one file could not be handled; it stays where it is."""
    observe.connector_events[channel, "file_failed"] += 1
    observe.event("file_failed", channel=channel, error=type(error).__name__, where=_place(error))


def watch_failed(channel: str, error: Exception) -> None:
    """Log and count that a folder could not be looked at; it is looked at again."""
    observe.connector_events[channel, "watch_failed"] += 1
    observe.event("watch_failed", channel=channel, error=type(error).__name__, where=_place(error))


def _place(error: Exception) -> str:
    """File and line where it was raised."""
    places = [f"{frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return places[-1] if places else ""
