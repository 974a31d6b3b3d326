"""How a command reads: the store opened read-only, beside a running server or without one.

Invariant: a reading command writes nothing, takes no lock, and never waits for the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.settings import Settings
    from engine.store.open_read import Reader


@contextmanager
def reader(chosen: Settings) -> Iterator[Reader]:
    """The store of the data folder, open for reading.

    Raises:
        NotFound, UnsafeStore: there is none, or it cannot be opened with this key.
    """
    from engine.store.open_read import open_for_reading

    opened = open_for_reading(chosen.data, chosen.key, chosen.store)
    try:
        yield opened
    finally:
        opened.close()


def offline_report(chosen: Settings) -> list[dict[str, Any]]:
    """What the folder of channels holds and a person set, while no server runs: nothing listens."""
    from engine.channels.site import read_site

    states = _states(chosen)
    return [
        {
            "name": channel.name,
            "title": channel.title,
            "class": channel.kind,
            "environment": channel.environment,
            "state": states.get((channel.name, ""), "started"),
            "address": "",
            "trouble": "no server runs",
            "revision": channel.revision,
            "destinations": [
                {"name": spec.name, "state": states.get((channel.name, spec.name), "started"), "address": spec.to}
                for spec in channel.destinations
            ],
        }
        for channel in read_site(chosen.channels).channels.values()
    ]


def _states(chosen: Settings) -> Mapping[tuple[str, str], str]:
    from engine.errors import NotFound
    from engine.store.standing import channel_states

    try:
        with reader(chosen) as store:
            return channel_states(store.connection)
    except NotFound:  # nobody has set anything yet
        return {}
