"""What the `http` and `fhir` destinations share: their knobs, one request with its headers, and the class of a status.

No status and no missing answer is ever read as more than it says: only a whole answer of class 2xx is taken, redirects
are never followed, and what was written without an answer is ambiguous.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from engine.connectors.http_client import Client, Trust
from engine.connectors.http_link import ExchangeFailed, InDoubt, Limits, Reply
from engine.connectors.http_target import Target, read_target
from engine.connectors.secret import Secret
from engine.connectors.tls import CLIENT_TLS_KNOBS, client_context, read_pins
from engine.errors import Configuration, Weight
from engine.knobs import Knob, read_options
from engine.model import Outcome
from engine.ports import Sending
from engine.wiring import DestinationSpec

KNOBS = (
    Knob("auth", "text", "bearer", 'how `secret` is sent: "bearer", "basic" (user:password) or "header:NAME"'),
    Knob("statuses", "list", "", 'other classes for statuses, such as "409=taken, 404=transient, 500=ambiguous"'),
    Knob("html", "choice", "refuse", "whether a 2xx with an HTML page counts as taken", ("refuse", "take")),
    Knob("connect_within", "duration", "5s", "how long to wait for a connection"),
    Knob("keep_idle", "duration", "4s", "how long an idle connection is used again; keep it below the server's limit"),
    Knob("answer_size", "size", "1MiB", "largest answer that is read"),
    Knob("link_local", "flag", False, "dial link-local, multicast and metadata addresses too"),
    *CLIENT_TLS_KNOBS,
)

#: Worth another try with the same bytes: the server is busy, starting, locked or failing.
_TRANSIENT = frozenset({401, 408, 409, 423, 425, 429})
#: Server errors that the same bytes will meet again.
_NEVER = frozenset({501, 505, 510})
_OTHER: Mapping[int, str] = {
    401: "the destination refused our credentials; check `secret` and `auth`: deliveries wait until it takes them",
    403: "the destination refused our credentials; check `secret` and `auth`, then replay",
    404: "nothing is there; check the path of `to`, then replay",
    413: "the destination does not take messages of this size",
    415: "the destination does not take this content type; check `convert`",
}
_CLASSES: Mapping[str, Weight | None] = {"taken": None, **{str(weight): weight for weight in Weight}}
_LONGEST_WAIT_SECONDS = 86_400.0


def weight_of(status: int) -> Weight | None:
    """The class of a status; None for taken. 412 is permanent: the precondition will fail again."""
    if 200 <= status < 300:
        return None
    if status in _TRANSIENT or (status >= 500 and status not in _NEVER):
        return Weight.TRANSIENT
    return Weight.PERMANENT


def retry_after(value: bytes, now: float) -> int:
    """Microseconds to wait, from seconds or an HTTP date (RFC 9110, 10.2.3); 0 for neither. At most a day."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0
    return int(max(0.0, min(seconds, _LONGEST_WAIT_SECONDS)) * 1_000_000)


def is_html(reply: Reply) -> bool:
    """True for a page made for people: a login form or a proxy's notice rather than an interface."""
    if reply.content_type in {b"text/html", b"application/xhtml+xml"}:
        return True
    return reply.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


class Caller:
    """One destination's requests: headers, credentials, limits and the classes of its statuses."""

    def __init__(self, channel: str, spec: DestinationSpec, accept: str) -> None:
        where = f"{channel}, destination {spec.name}"
        knobs = read_options(spec.options, KNOBS, where)
        self.target = read_target(spec.to, where)
        self._client = Client(self.target, _limits(spec, knobs), _trust(self.target, knobs, where), where)
        self._secret = _credentials(spec.secret, str(knobs["auth"]), where)
        self._overrides = _overrides(knobs["statuses"], where)
        self._html = knobs["html"] == "take"
        self._common = f" HTTP/1.1\r\nHost: {self.target.host_header}\r\nUser-Agent: interlock\r\nAccept: {accept}\r\n"
        self._heads: dict[str, bytes] = {}

    async def post(self, payload: bytes, sending: Sending, content_type: str) -> Reply | Outcome:
        """POST to the target's own path: an answer, or the outcome of having none."""
        head = self._heads.get(content_type)
        if head is None:
            head = self._head("POST", self.target.path, content_type)
            if len(self._heads) < 64:
                self._heads[content_type] = head
        return await self._send(head, payload, sending)

    async def call(
        self, method: str, path: str, content_type: str, payload: bytes, sending: Sending
    ) -> Reply | Outcome:
        """Send any other request: an answer, or the outcome of having none."""
        return await self._send(self._head(method, path, content_type), payload, sending)

    def judge(self, reply: Reply) -> Outcome:
        """The outcome that the status alone tells. An HTML page with 2xx is permanent: no interface answered."""
        weight = self.weight(reply.status)
        if weight is None and not self._html and is_html(reply):
            detail = "a page for people came back, not an interface's answer; check `to` for a login page or a proxy"
            return Outcome("html_page", Weight.PERMANENT, answer=reply.body, detail=detail)
        return Outcome(
            f"HTTP {reply.status}",
            weight,
            level="commit" if reply.status == 202 else "application",
            answer=reply.body,
            detail="" if weight is None else _advice(reply.status),
            retry_after=self.wait(reply) if weight is Weight.TRANSIENT else 0,
            unreachable=reply.status == 401 and weight is Weight.TRANSIENT,  # no message is at fault: all wait
        )

    def weight(self, status: int) -> Weight | None:
        """The class of a status, the channel's own table first; None for taken."""
        return self._overrides[status] if status in self._overrides else weight_of(status)

    def declares(self, status: int) -> bool:
        """True for a status that the channel's own table has: a person vouches for what it means."""
        return status in self._overrides

    def wait(self, reply: Reply) -> int:
        """Microseconds that the answer's Retry-After asks for."""
        value = reply.headers.get(b"retry-after")
        return retry_after(value, time.time()) if value else 0

    async def reach(self) -> str:
        """Connect without sending: "" when it works, else what is wrong and what to do."""
        try:
            if self._secret is not None:
                self._secret.value()
            await self._client.reach()
        except Configuration as error:
            return f"{error.text}. {error.advice}"
        except ExchangeFailed as failed:
            return f"{failed.code}: {failed.detail}"
        return ""

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def _head(self, method: str, path: str, content_type: str) -> bytes:
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        if not (path + content_type).isprintable():
            raise Configuration("building a request: the path or content type has control characters")
        return f"{method} {path}{self._common}{kind}".encode("ascii")

    async def _send(self, head: bytes, payload: bytes, sending: Sending) -> Reply | Outcome:
        try:
            credentials = self._secret.value() if self._secret is not None else b""
            name = sending.delivery.encode("ascii")
            return await self._client.exchange(
                b"%b%bIdempotency-Key: %b\r\nX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (head, credentials, name, name, len(payload), payload)
            )
        except InDoubt as failed:
            return Outcome(failed.code, Weight.AMBIGUOUS, detail=failed.detail)
        except ExchangeFailed as failed:
            return Outcome(failed.code, Weight.TRANSIENT, detail=failed.detail, unreachable=True)
        except Configuration as error:
            detail = f"{error.text}. {error.advice}"
            return Outcome(error.code, Weight.TRANSIENT, detail=detail, unreachable=True)


def _advice(status: int) -> str:
    if 300 <= status < 400:
        return "redirects are never followed; set `to` to the final address"
    return _OTHER.get(status, "")


def _limits(spec: DestinationSpec, knobs: Mapping[str, Any]) -> Limits:
    return Limits(
        answer=spec.timeout,
        connect=knobs["connect_within"],
        idle=knobs["keep_idle"],
        answer_size=knobs["answer_size"],
        connections=spec.connections,
        link_local=knobs["link_local"],
    )


def _trust(target: Target, knobs: Mapping[str, Any], where: str) -> Trust | None:
    if target.scheme == "http":
        return None
    name = knobs["server_name"] or target.host
    return Trust(client_context(knobs, where), name, read_pins(knobs["pin"], where))


def _overrides(pairs: tuple[str, ...], where: str) -> dict[int, Weight | None]:
    """Read "409=taken"; None for taken."""
    table: dict[int, Weight | None] = {}
    for pair in pairs:
        status, _, word = (part.strip() for part in pair.partition("="))
        if not (status.isascii() and status.isdigit() and 200 <= int(status) <= 599 and word in _CLASSES):
            advice = f'Write "STATUS=CLASS" with one of {", ".join(_CLASSES)}, such as "409=taken".'
            raise Configuration('reading option "statuses": a pair is not STATUS=CLASS', where=where, advice=advice)
        table[int(status)] = _CLASSES[word]
    return table


def _credentials(reference: str, auth: str, where: str) -> Secret | None:
    """The header line that the secret becomes."""
    kind, _, name = auth.partition(":")
    shapes: dict[str, Callable[[str], str]] = {
        "bearer": lambda secret: f"Authorization: Bearer {secret}",
        "basic": lambda secret: f"Authorization: Basic {base64.b64encode(secret.encode()).decode()}",
        "header": lambda secret: f"{name}: {secret}",
    }
    named = kind == "header" and name.isascii() and name.replace("-", "").isalnum()
    if kind not in shapes or (kind == "header" and not named) or (kind != "header" and name):
        advice = 'Write "bearer", "basic" or "header:NAME".'
        raise Configuration('reading option "auth": it is none of its forms', where=where, advice=advice)
    return Secret(reference, lambda secret: _line(shapes[kind](secret))) if reference else None


def _line(text: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        advice = "A header takes one line of ASCII; see what the secret's file holds."
        raise Configuration("reading a secret: it cannot be a header", code="secret_unusable", advice=advice)
    return text.encode("ascii") + b"\r\n"
