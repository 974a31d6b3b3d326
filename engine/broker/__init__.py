"""Brokers: doorbells between the processes of one site, which carry channel names and message ids only."""

from __future__ import annotations

from engine.broker.local import LocalBroker
from engine.errors import Configuration
from engine.ports import Broker

_REDIS = ("redis://", "rediss://", "unix://")


def open_broker(url: str) -> Broker:
    """The broker that a URL names, not yet listening; it connects to nothing before it rings or listens.

    Raises:
        Configuration: no broker is called that, or its URL cannot be read.
    """
    if url in ("", "local"):
        return LocalBroker()
    if url.startswith(_REDIS):
        from engine.broker.redis import RedisBroker  # a site of one process never pays for this import

        return RedisBroker(url)
    raise Configuration(
        f"reading the broker's URL: expected {', '.join(_REDIS)} or nothing",
        code="setting",
        advice="Set INTERLOCK_BROKER to redis://HOST:6379/0, or leave it out: one process needs no broker.",
    )
