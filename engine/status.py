"""What every channel is doing: the report that pages, probes and commands show.

Invariant: a report is read from memory; it asks no store and holds no field of a message.
"""

from __future__ import annotations

from typing import Any

from engine.live import Live
from engine.outlet import Outlet
from engine.ports import Running
from engine.worker import Worker


def report(live: Live, worker: Worker) -> list[dict[str, Any]]:
    """One dict a channel, its destinations inside."""
    return [_channel(live, worker, running) for _, running in sorted(live.channels.items())]


def _channel(live: Live, worker: Worker, running: Running) -> dict[str, Any]:
    channel = running.channel
    source = live.sources.get(channel.name)
    return {
        "name": channel.name,
        "title": channel.title,
        "class": channel.kind,
        "environment": channel.environment,
        "state": live.states.get((channel.name, ""), "started"),
        "address": source.address if source else "",
        "trouble": live.troubles.get(channel.name, ""),
        "revision": channel.revision,
        "destinations": [
            _destination(live, worker.outlets[channel.name, spec.name], channel.name)
            for spec in channel.destinations
            if (channel.name, spec.name) in worker.outlets
        ],
    }


def _destination(live: Live, outlet: Outlet, channel: str) -> dict[str, Any]:
    name = outlet.spec.name
    return {
        "name": name,
        "state": live.states.get((channel, name), "started"),
        "address": outlet.spec.to,
        "reachable": not outlet.breaker.open,
        "lanes": len(outlet.owned.lanes),
    }
