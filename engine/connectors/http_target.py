"""Where an HTTP destination sends: its URL read strictly, without a secret in it.

What is not plain ASCII or could end a header line never reaches a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from engine.errors import Configuration


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: scheme without its `fhir+`, host, port, and the path with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The Host header: brackets around an IPv6 address, no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


def read_target(url: str, where: str) -> Target:
    """Read a destination's URL.

    Raises:
        Configuration: when it is no http(s) URL, or carries a password, a fragment or an address never dialled.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Configuration("reading `to`: the host or the port is not valid", where=where) from None
    scheme = parts.scheme.removeprefix("fhir+")
    if scheme not in {"http", "https"} or not parts.hostname:
        raise Configuration("reading `to`: it is not http(s)://host:port/path", where=where)
    return Target(scheme, parts.hostname, port or {"http": 80, "https": 443}[scheme], _path(parts, where))


def _path(parts: SplitResult, where: str) -> str:
    if parts.username is not None or parts.fragment:
        advice = "Put the secret behind `secret = env:NAME`, and leave the # part out."
        raise Configuration("reading `to`: a URL has no password and no fragment here", where=where, advice=advice)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise Configuration("reading `to`: write other characters than ASCII as %XX", where=where)
    return path
