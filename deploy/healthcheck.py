"""Asks a server on this machine whether it answers: exit 0 for status 200, 1 for anything else.

Without an argument it asks `/healthz` of the address in INTERLOCK_HTTP. No proxy is ever used.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

SECONDS = 3.0


def answers(url: str) -> bool:
    """Whether a GET of the URL is answered with 200 in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def default_url() -> str:
    """The engine's own probe; what listens on every address is asked on loopback."""
    host, _, port = os.environ.get("INTERLOCK_HTTP", "127.0.0.1:8080").rpartition(":")
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}/healthz"


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1] if len(sys.argv) > 1 else default_url()) else 1)
