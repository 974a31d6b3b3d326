"""One line to a receiver, for `interlock send`: MLLP or HTTP, blocking, one message at a time.

Invariant: an answer is taken for a message only when it names that message (MSA-2); after a late or broken answer the
line is closed and opened anew, so that it cannot meet the next message.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from engine.cli.options import wrong_use
from engine.connectors.framing import Frame, FrameDecoder, encode, framable
from engine.errors import InterlockError, Unreadable
from engine.formats.hl7v2 import read
from engine.formats.hl7v2_ack import judge

MOST_ANSWER_BYTES = 16 * 1024 * 1024
NO_ANSWER = "none"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HL7 = "x-application/hl7-v2+er7"


@dataclass(frozen=True, slots=True)
class Told:
    """What a receiver said of one message. `code` is MSA-1 or the HTTP status; "none" where no answer came."""

    positive: bool
    code: str
    text: str = ""
    answer: bytes = b""
    control_id: str = ""


class Line(Protocol):
    """A way to a receiver, opened when it is first needed."""

    address: str

    def exchange(self, raw: bytes) -> Told:
        """Send one message and wait for its answer."""
        ...

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        ...

    def __enter__(self) -> Line: ...

    def __exit__(self, *_: object) -> None: ...


def connect(target: str, seconds: float, ca: Path | None, token: str) -> Line:
    """The line to an address.

    Raises:
        Configuration: (exit 2) when the address is none this command knows.
    """
    url = urlsplit(target)
    try:
        port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
    except ValueError:
        port = 0
    if url.scheme not in ("mllp", "mllps", "http", "https") or not url.hostname or not port:
        raise wrong_use(
            "reading the address: it is no mllp, mllps, http or https URL with a port", "Such as mllp://127.0.0.1:2575."
        )
    secure = url.scheme in ("mllps", "https")
    context = _context(ca) if secure else None
    if url.scheme.startswith("mllp"):
        return MllpLine(f"{url.scheme}://{url.hostname}:{port}", url.hostname, port, seconds, context)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return HttpLine(
        f"{url.scheme}://{url.hostname}:{port}{url.path}", url.hostname, port, path, seconds, context, token
    )


class _Closing:
    """What both lines share: they are closed at the end of a `with`."""

    def close(self) -> None:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        self.close()


class MllpLine(_Closing):
    """MLLP: the answer is the next frame, judged as the engine's own destination judges it."""

    def __init__(self, address: str, host: str, port: int, seconds: float, context: ssl.SSLContext | None) -> None:
        self.address = address
        self._host, self._port, self._seconds, self._context = host, port, seconds, context
        self._socket: socket.socket | None = None

    def __enter__(self) -> MllpLine:
        return self

    def close(self) -> None:
        """Let go of the connection."""
        line, self._socket = self._socket, None
        if line is not None:
            line.close()

    def exchange(self, raw: bytes) -> Told:
        """Send one message and wait for its answer."""
        control_id = _control_id(raw)
        if not framable(raw):
            return Told(False, NO_ANSWER, "it holds the bytes that end an MLLP frame; it was not sent", b"", control_id)
        try:
            answer = self._answer(raw)
        except OSError as error:
            self.close()
            return Told(False, NO_ANSWER, _why(error), b"", control_id)
        outcome = judge(raw, answer)
        if not outcome.taken:
            self.close()
        return Told(outcome.taken, outcome.code, _words(answer) or outcome.detail, answer, control_id)

    def _answer(self, raw: bytes) -> bytes:
        line = self._socket = self._socket or self._open()
        line.sendall(encode(raw))
        decoder = FrameDecoder(MOST_ANSWER_BYTES)
        while data := line.recv(65536):
            for event in decoder.feed(data):
                if isinstance(event, Frame):
                    return event.payload
                raise ConnectionAbortedError("the answer is no whole MLLP frame")
        raise ConnectionAbortedError("the connection closed before the answer came")

    def _open(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), self._seconds)
        return self._context.wrap_socket(plain, server_hostname=self._host) if self._context else plain


class HttpLine(_Closing):
    """HTTP: POST; 2xx is positive, and where the body is an acknowledgement it must be positive, too."""

    def __init__(
        self, address: str, host: str, port: int, path: str, seconds: float, context: ssl.SSLContext | None, token: str
    ) -> None:
        self.address = address
        self._path, self._token = path, token
        self._connection = (
            http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
            if context
            else http.client.HTTPConnection(host, port, timeout=seconds)
        )

    def __enter__(self) -> HttpLine:
        return self

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def exchange(self, raw: bytes) -> Told:
        """Send one message and wait for its answer."""
        control_id = _control_id(raw)
        headers = {"Content-Type": _content_type(raw)}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            self._connection.request("POST", self._path, raw, headers)
            response = self._connection.getresponse()
            body = response.read(MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Told(False, NO_ANSWER, _why(error), b"", control_id)
        code, text = f"{response.status} {response.reason}".strip(), ""
        positive = 200 <= response.status < 300
        if body[:3] == b"MSH":
            outcome = judge(raw, body)
            positive, code, text = positive and outcome.taken, f"{code}, {outcome.code}", _words(body)
        return Told(positive, code, text, body, control_id)


def _control_id(raw: bytes) -> str:
    """MSH-10, or nothing where the bytes are no HL7 v2: they are sent all the same."""
    try:
        return read(raw).get("MSH-10") or ""
    except Unreadable:
        return ""


def _words(answer: bytes) -> str:
    """What the receiver says in words: MSA-3, else ERR-8 or ERR-7."""
    try:
        message = read(answer)
        return message.get("MSA-3") or message.get("ERR-8") or message.get("ERR-7") or ""
    except InterlockError:
        return ""


def _content_type(raw: bytes) -> str:
    start = raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if raw[:3] == b"MSH":
        return _HL7
    return {b"{": "application/fhir+json", b"<": "application/xml"}.get(start, "application/octet-stream")


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise wrong_use(f"reading --ca: {error.strerror or 'it holds no certificate'}") from None


def _why(error: Exception) -> str:
    """Why there is no answer, and what to look at."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there: check the address, and that the channel is started"
    if isinstance(error, TimeoutError):
        return "no answer in time: it may have been taken; look there before you send it again"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {error.reason or 'the certificate is not trusted; see --ca'}"
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    return str(error.args[-1] if error.args else type(error).__name__) or type(error).__name__
