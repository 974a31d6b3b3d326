"""admit: may anything come in on this channel now? Needs only the channel and the in-memory directory.

Invariant: what is refused here is answered negatively and never stored.
"""

from __future__ import annotations

from engine.errors import ChannelNotTaking, StoreUnavailable, TooLarge, WrongEnvironment
from engine.ports import Directory, Running


def admit(size: int, running: Running, directory: Directory, room: bool) -> None:
    """Let bytes in, or refuse them before anything is read.

    Raises:
        ChannelNotTaking, TooLarge, WrongEnvironment: the sender is told, nothing is kept.
        StoreUnavailable: there is no room to keep anything.
    """
    channel = running.channel
    if not running.taking:
        raise ChannelNotTaking(f"channel {channel.name} does not take messages now")
    if size > channel.source.max_size:
        raise TooLarge(f"the message is larger than {channel.source.max_size} bytes")
    if channel.environment == "production" and not directory.production_allowed(channel.owner):
        raise WrongEnvironment(
            f"organization {channel.owner} has no confirmed agreement: production messages are not taken;"
            " start with --agreements-in-place once agreements are signed",
            code="no_agreement",
        )
    if not room:
        raise StoreUnavailable("the disk has no room left", code="disk_full")
