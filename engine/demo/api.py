"""The few questions that the demo asks the engine's HTTP API, as any client would."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Iterable
from typing import Any

import orjson

ANSWER_SECONDS = 10.0


class Api:
    """GET with the bearer token. Blocking: call it in a thread."""

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address, token

    def channels(self) -> list[dict[str, Any]]:
        """Every channel with its counts, and its destinations with theirs."""
        answer = self._get("/v1/channels")
        channels: list[dict[str, Any]] = answer["channels"] if isinstance(answer, dict) else answer
        return channels

    def message_ids(self, control_ids: Iterable[str]) -> dict[str, str]:
        """The engine's id of each message that it knows by its control id."""
        found = {}
        for control_id in control_ids:
            answer = self._get("/v1/messages?" + urllib.parse.urlencode({"control_id": control_id}))
            messages = answer["messages"] if isinstance(answer, dict) else answer
            if messages:
                found[control_id] = str(messages[0]["id"])
        return found

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return orjson.loads(answer.read())
