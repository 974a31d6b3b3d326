"""Dramatiq's Redis broker, cut down to what a doorbell needs, and made to outlive Redis.

Invariant: a listener never raises and never dies. What it cannot use it drops: nothing is kept in a dead-letter queue.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit
from uuid import uuid4

import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DecodeError
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.broker.reach import Reach
from engine.errors import Configuration

NAMESPACE = "interlock"
QUEUE = "interlock"
ANSWER_SECONDS = 2.0
"""How long Redis may take to connect and to answer."""
PAUSE_SECONDS = 1.0
"""How long a listener waits after Redis failed."""
MAINTENANCE_IN_A_MILLION = 10_000
"""How often a command also clears away what dead processes left: at ten looks a second, every ten seconds."""
DEAD_MILLISECONDS = 60_000

_ADVICE = "Set INTERLOCK_BROKER to redis://HOST:6379/0, rediss://HOST:6379/0 for TLS, or unix:///PATH?db=0."
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
"""What may stand behind the question mark: others would undo what is decided here, e.g. time limits and TLS checks."""
_DATABASE = re.compile(r"/?|/\d+")
_PATHS = {"redis": _DATABASE, "rediss": _DATABASE, "unix": re.compile(r"/.+")}


class Carrier(RedisBroker):
    """Without middleware: no retries, no results, no age limit, which would trust the clocks of two machines."""

    def __init__(self, url: str, actor: str, ending: threading.Event) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=redis.Redis(connection_pool=_pool(url)),
            middleware=[],
            namespace=NAMESPACE,
            maintenance_chance=MAINTENANCE_IN_A_MILLION,
            heartbeat_timeout=DEAD_MILLISECONDS,
            dead_message_ttl=DEAD_MILLISECONDS,
        )
        self.actor = actor
        self.ending = ending
        self.reach = Reach(_address(url))

    def get_declared_delay_queues(self) -> set[str]:
        """None: nothing is ever delayed, and a listener for it would cost as much again."""
        return set()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A listener that outlives Redis."""
        return _Listener(self, super().consume(queue_name, prefetch, timeout))

    def rename(self) -> None:
        """Take a new name after an outage: what was taken under the old one and not heard is given back as a dead's."""
        self.broker_id = str(uuid4())


class _Listener(Consumer):
    """Dramatiq's consumer, every call of which may fail."""

    def __init__(self, carrier: Carrier, inner: Consumer) -> None:
        self._carrier = carrier
        self._inner = inner

    def __next__(self) -> MessageProxy | None:
        try:
            message = next(self._inner)
        except DecodeError:  # somebody else wrote there
            return None
        except Exception as error:
            self._carrier.reach.failed("listening", error)
            self._carrier.ending.wait(PAUSE_SECONDS)
            return None
        if self._carrier.reach.worked("listening"):
            self._carrier.rename()
        if message is None or self._is_a_ring(message):
            return message
        self.ack(message)
        return None

    def ack(self, message: MessageProxy) -> None:
        """It was heard. When Redis cannot be told, it may be heard twice."""
        with suppress(Exception):
            self._inner.ack(message)

    def nack(self, message: MessageProxy) -> None:
        """Dropped like one that was heard: a dead letter would be kept, and nobody would read it."""
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """At the end: rings that were taken and not heard, for another process."""
        if self._carrier.reach.well():
            with suppress(Exception):
                self._inner.requeue(messages)

    def close(self) -> None:
        """Nothing to close: the connections are the carrier's."""

    def _is_a_ring(self, message: MessageProxy) -> bool:
        named = message.actor_name == self._carrier.actor and message.queue_name == QUEUE
        one = len(message.args) == 1 and isinstance(message.args[0], str) and not message.kwargs
        return named and one and "eta" not in message.options


def _pool(url: str) -> redis.ConnectionPool:
    """Connections that fail at once instead of trying again: the caller does, with its own pause."""
    limits: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    try:
        _check(urlsplit(url))
        pool = redis.ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), client_name=NAMESPACE, **limits)
        pool.make_connection()  # connects to nothing yet, and reads all of its options
    except (ValueError, TypeError, redis.RedisError):  # their texts may hold a password
        raise Configuration("the broker's URL is not one of Redis", code="setting", advice=_ADVICE) from None
    return pool


def _check(parts: SplitResult) -> None:
    """What Redis' own reader would take in silence, and then do something else. Raises `ValueError`."""
    if parse_qs(parts.query, keep_blank_values=True).keys() - _OPTIONS:
        raise ValueError("an option that is not known")
    if not _PATHS[parts.scheme].fullmatch(parts.path):
        raise ValueError("a path that names no database and no socket")


def _address(url: str) -> str:
    """Where Redis is, without the name and the password that the URL may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
