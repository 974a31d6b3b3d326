"""TLS and mutual TLS from files, for every connector that speaks it.

At least TLS 1.2, never without a certificate that was checked. Node certificates in hospitals often name no host, so a
peer may be pinned instead: by the SHA-256 fingerprint of its certificate or by its subject's common name.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from asyncio import BaseTransport
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from engine.errors import Configuration
from engine.knobs import Knob

PIN = "sha256:HEX of the peer's certificate, or cn:NAME of its subject; several are separated by commas"

SERVER_TLS_KNOBS = (
    Knob("certificate", "file", "", "PEM file with this server's certificate and its chain"),
    Knob("key", "file", "", "PEM file with the key of certificate"),
    Knob(
        "client_ca", "file", "", "PEM file of the authorities whose client certificates are taken; then one is required"
    ),
    Knob("pin", "list", "", f"which clients are taken, beside client_ca: {PIN}"),
)

CLIENT_TLS_KNOBS = (
    Knob("ca", "file", "", "PEM file of the authorities that may have signed the server; default: the system's"),
    Knob("certificate", "file", "", "PEM file with the client certificate, where the server asks for one"),
    Knob("key", "file", "", "PEM file with the key of certificate"),
    Knob("pin", "list", "", f"which server is meant; with ca it stands in for the host name: {PIN}"),
    Knob("server_name", "text", "", "the name in the server's certificate, where it is not the host of the URL"),
)


def server_context(options: Mapping[str, Any], where: str) -> ssl.SSLContext:
    """The context of a listening connector from its SERVER_TLS_KNOBS.

    Raises:
        Configuration: when a file is missing or does not fit, or a pin has no client_ca to stand on.
    """
    if not options["certificate"]:
        raise _fault("certificate", "a TLS listener needs a certificate and its key", where)
    if options["pin"] and not options["client_ca"]:
        raise _fault("pin", "a pin of clients needs client_ca, so that they are asked for a certificate", where)
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, options, where)
    if options["client_ca"]:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, "client_ca", options["client_ca"], where)
    return context


def client_context(options: Mapping[str, Any], where: str) -> ssl.SSLContext:
    """The context of a connecting connector from its CLIENT_TLS_KNOBS.

    The chain is always checked; the host name too, unless a pin says which node is meant.

    Raises:
        Configuration: when a file is missing or does not fit, or a pin has no ca to stand on.
    """
    if options["pin"] and not options["ca"]:
        raise _fault("pin", "a pin of the server needs `ca`, so that not any public authority can vouch for it", where)
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not options["pin"]
    if options["ca"]:
        _load_authorities(context, "ca", options["ca"], where)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if options["certificate"]:
        _load_certificate(context, options, where)
    return context


def read_pins(texts: tuple[str, ...], where: str) -> Callable[[BaseTransport], bool]:
    """A test of whether a transport's peer is one of the pinned; with no pins everybody is.

    Raises:
        Configuration: for a pin that is neither a fingerprint nor a common name.
    """
    pins = frozenset(_pin(text, where) for text in texts)
    if not pins:
        return lambda transport: True
    return lambda transport: _is_pinned(transport, pins)


def _is_pinned(transport: BaseTransport, pins: frozenset[str]) -> bool:
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    raw = tls.getpeercert(binary_form=True) if tls else None
    if tls is None or raw is None:
        return False
    seen = {"sha256:" + hashlib.sha256(raw).hexdigest()}
    subject = cast(tuple[tuple[tuple[str, str], ...], ...], (tls.getpeercert() or {}).get("subject", ()))
    seen |= {f"cn:{value}" for part in subject for name, value in part if name == "commonName"}
    return any(hmac.compare_digest(one.encode(), pin.encode()) for one in seen for pin in pins)


def _pin(text: str, where: str) -> str:
    kind, _, value = text.partition(":")
    digits = value.replace(":", "").lower()
    if kind == "sha256" and len(digits) == 64 and set(digits) <= set("0123456789abcdef"):
        return f"sha256:{digits}"
    if kind == "cn" and value:
        return text
    raise _fault("pin", f"a pin is {PIN}", where)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load_certificate(context: ssl.SSLContext, options: Mapping[str, Any], where: str) -> None:
    certificate: Path = options["certificate"]
    try:
        context.load_cert_chain(certificate, options["key"])
    except (OSError, ssl.SSLError) as error:
        raise _fault("certificate", f"the certificate or its key cannot be used ({_why(error)})", where) from None


def _load_authorities(context: ssl.SSLContext, knob: str, file: Path, where: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise _fault(knob, f"the file of authorities cannot be used ({_why(error)})", where) from None


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__


def _fault(knob: str, text: str, where: str) -> Configuration:
    advice = next(k.help for k in (*SERVER_TLS_KNOBS, *CLIENT_TLS_KNOBS) if k.name == knob)
    return Configuration(f'reading option "{knob}": {text}', where=where, advice=f"{knob}: {advice}")
