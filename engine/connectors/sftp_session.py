"""One SSH connection with SFTP to a server whose host key is pinned, opened when needed and again when lost.

No byte of ours, and no password, goes to a server that did not show the pinned key. Nothing is read from the user's own
SSH configuration, agent or keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncssh

from engine.connectors.addresses import resolve
from engine.connectors.secret import read_secret
from engine.errors import Configuration
from engine.knobs import Knob

KNOBS = (
    Knob(
        "fingerprint", "list", "", "SHA256:... of the server's host key, as `ssh-keygen -l` prints it; several allowed"
    ),
    Knob("known_hosts", "file", "", "known_hosts file with the server's key, instead of a fingerprint"),
    Knob("connect_within", "duration", "10s", "how long to wait for a connection and the sign-in"),
)
#: asyncssh's own errors, and what a dead socket raises below them.
FAILURES = (asyncssh.Error, OSError)


@dataclass(frozen=True, slots=True)
class Place:
    """What an sftp: URL names."""

    user: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The place as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{self.user}@{host}:{self.port}{self.path}"


def read_place(url: str, where: str) -> Place:
    """Read sftp://user@host:port/folder.

    Raises:
        Configuration: when a part is missing, or it carries a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 22
    except ValueError:
        raise Configuration("reading an sftp: URL: the host or the port is not valid", where=where) from None
    known = parts.scheme == "sftp" and parts.hostname and parts.username and parts.path.strip("/")
    if not known or parts.password is not None or parts.query or parts.fragment:
        advice = "Write sftp://user@host:port/folder; the password or key stands behind `secret`."
        raise Configuration("reading an sftp: URL: a part is missing or too many", where=where, advice=advice)
    return Place(unquote(str(parts.username)), str(parts.hostname), port, unquote(parts.path).rstrip("/"))


class _PinnedClient(asyncssh.SSHClient):
    """Knows a server by its fingerprint alone."""

    def __init__(self, fingerprints: frozenset[str]) -> None:
        self._fingerprints = fingerprints

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() in self._fingerprints


class Session:
    """The connection; `sftp` gives the client, connected."""

    def __init__(self, place: Place, secret: str, knobs: Mapping[str, Any], where: str) -> None:
        if not knobs["fingerprint"] and not knobs["known_hosts"]:
            advice = "Set `fingerprint` to what `ssh-keygen -l` prints of the server's key, or name a known_hosts file."
            raise Configuration("reading options: the server's host key is not pinned", where=where, advice=advice)
        if not secret:
            advice = "Set it to env:NAME or file:PATH of a password or of a private key."
            raise Configuration('reading options: "secret" is missing', where=where, advice=advice)
        self._place = place
        self._secret = secret
        self._fingerprints = frozenset(_fingerprint(text, where) for text in knobs["fingerprint"])
        self._known_hosts = knobs["known_hosts"]
        self._within = knobs["connect_within"] / 1_000_000
        self._lock = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._closed = False

    async def sftp(self) -> asyncssh.SFTPClient:
        """The client. Raises one of FAILURES or `Configuration` when there is no connection to be had."""
        async with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the connector is closed")
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self._close()
                async with asyncio.timeout(self._within):
                    await self._connect()
            assert self._client is not None
            return self._client

    async def close(self) -> None:
        """Close the connection for good. Safe to call twice."""
        self._closed = True
        async with self._lock:
            await self._close()

    def drop(self) -> None:
        """Give the connection up at once: the next use opens another."""
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()

    async def _connect(self) -> None:
        address = (await resolve(self._place.host, self._place.port))[0]
        make: Callable[[], asyncssh.SSHClient] = lambda: _PinnedClient(self._fingerprints)  # noqa: E731
        self._connection = await asyncssh.connect(
            address,
            self._place.port,
            client_factory=make,
            username=self._place.user,
            known_hosts=str(self._known_hosts) if self._known_hosts else ([], [], []),
            host_key_alias=self._place.host,
            config=None,
            agent_path=None,
            gss_host=None,
            keepalive_interval=15,
            keepalive_count_max=2,
            **_credentials(read_secret(self._secret)),
        )
        self._client = await self._connection.start_sftp_client()

    async def _close(self) -> None:
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.close()
            await connection.wait_closed()


def _fingerprint(text: str, where: str) -> str:
    value = text.rstrip("=")
    if not value.startswith("SHA256:") or len(value) != 50:
        advice = "Write it as `ssh-keygen -l` prints it: SHA256: and 43 characters."
        raise Configuration('reading option "fingerprint": it is not one', where=where, advice=advice)
    return value


def _credentials(secret: str) -> dict[str, Any]:
    """A secret is a private key when it says so, else a password."""
    if not secret.startswith("-----BEGIN "):
        return {"password": secret, "client_keys": None, "preferred_auth": "password,keyboard-interactive"}
    try:
        return {"client_keys": [asyncssh.import_private_key(secret + "\n")], "preferred_auth": "publickey"}
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        advice = "Export the key without a passphrase; the file that holds it is the secret."
        raise Configuration(
            "reading a secret: the private key cannot be used", code="secret_unusable", advice=advice
        ) from None


def explain(error: BaseException) -> tuple[str, str]:
    """Code and advice for a connection that could not be had."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "host_key", "the server showed another host key than the pinned one; ask its owner before you change it"
    if isinstance(error, asyncssh.PermissionDenied):
        return "sign_in_refused", "the server refused the user, password or key; check the URL and `secret`"
    if isinstance(error, TimeoutError):
        return "connect_timeout", "no connection within `connect_within`; check the address and the firewall"
    if isinstance(error, Configuration):
        return error.code, f"{error.text}. {error.advice}"
    return "connect_failed", "no connection; check the address and whether the server is up"
