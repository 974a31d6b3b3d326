"""Answers told over Redis to every process that takes messages: published, heard by all who listen now, and forgotten.

Invariant: the listener never raises and never dies; a connection on which nothing comes is asked whether it still is
one. Nothing of it stays in Redis: what nobody heard is found by whoever waits, a little later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import redis

from engine.broker.carrier import NAMESPACE, PAUSE_SECONDS, Carrier

SILENT_SECONDS = 1.0
"""After so long without a word Redis is asked for one; after as long again without it the connection is made anew."""


class Answers:
    """One process's ear, on a thread of its own, and its voice. Messages are the ids of messages."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        number = carrier.client.connection_pool.connection_kwargs.get("db", 0)
        self._name = f"{NAMESPACE}:answered:{number}"  # all databases of a Redis share what is published
        self._heard: Callable[[str], None]
        self._thread: threading.Thread | None = None

    def listen(self, heard: Callable[[str], None]) -> None:
        """Call `heard` on the listening thread for each answer that is told, whether Redis is there or not."""
        self._heard = heard
        self._thread = threading.Thread(target=self._listen_for_ever, name="interlock-answers", daemon=True)
        self._thread.start()

    def tell(self, messages: Iterable[str]) -> None:
        """Publish these, in one round trip. Raises what Redis' client raises."""
        with self._carrier.client.pipeline(transaction=False) as pipe:
            for message in messages:
                pipe.publish(self._name, message)
            pipe.execute()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _listen_for_ever(self) -> None:
        ending = self._carrier.ending
        while not ending.is_set():
            try:
                with self._carrier.client.pubsub() as told:
                    told.subscribe(self._name)
                    self._listen(told)
            except Exception as error:  # whatever it is, the thread must live
                if not ending.is_set():
                    self._carrier.reach.failed("hearing answers", error)
                    ending.wait(PAUSE_SECONDS)

    def _listen(self, told: redis.client.PubSub) -> None:
        is_asked = False
        while not self._carrier.ending.is_set():
            said = told.get_message(timeout=SILENT_SECONDS)
            if said is None:
                if is_asked:
                    raise TimeoutError("Redis says nothing")
                told.ping()
            else:
                self._carrier.reach.worked("hearing answers")
                if said["type"] == "message":
                    self._heard(said["data"].decode(errors="replace"))
            is_asked = said is None
