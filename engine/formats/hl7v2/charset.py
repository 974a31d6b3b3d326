"""Bytes to text and back: MSH-18 strictly, then UTF-8, then cp1252.

Which one was used is recorded, and no choice loses a byte: what was decoded encodes to the bytes that came, or the
message keeps those bytes beside it (see `message.py`).
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_JAPANESE = "iso2022_jp_ext"  # ASCII, JIS X 0201, 0208, 0212, switched by escape sequences
CP1252 = "cp1252"

#: HL7 table 0211 and the spellings that senders use instead, to codecs of the standard library.
_CODECS = {
    "ASCII": "ascii",
    "US-ASCII": "ascii",
    "ISO IR6": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "ISO IR14": _JAPANESE,
    "ISO IR87": _JAPANESE,
    "ISO IR159": _JAPANESE,
    "ISO-2022-JP": _JAPANESE,
    "ISO 2022-JP": _JAPANESE,
    "SHIFT_JIS": "shift_jis",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "BIG-5": "big5",
    "BIG5": "big5",
    "KS X 1001": "cp949",
    "EUC-KR": "cp949",
    "WINDOWS-1252": CP1252,
    "CP1252": CP1252,
} | {f"{prefix}{n}": f"iso8859-{n}" for prefix in ("8859/", "ISO-8859-", "ISO8859-") for n in range(1, 17) if n != 12}

#: Codecs with which strict decoding and encoding give the same bytes, whatever the bytes are.
REVERSIBLE = frozenset({"ascii", "utf-8", CP1252} | {c for c in _CODECS.values() if c.startswith("iso8859-")})

_REPETITION = re.compile(r"[^A-Za-z0-9/ ._-]+")  # no name of a character set holds what may delimit
_CONTROLS_C1 = bytes(range(0x80, 0xA0))  # no characters in ISO 8859: a text that holds them is something else

# cp1252 leaves five bytes undefined; as on the web they become the control characters of their number, reversibly.
_CP1252_DECODE = "".join(bytes([n]).decode(CP1252, "replace").replace("\ufffd", chr(n)) for n in range(256))
_CP1252_ENCODE = {ord(character): n for n, character in enumerate(_CP1252_DECODE)}


def decode(body: bytes) -> tuple[str, str]:
    """Text of a message that begins with MSH, and the name of the codec that was used."""
    names = declared(body)
    if body.isascii() and b"\x1b" not in body:
        return body.decode("ascii"), _candidates(names)[-2]
    for codec in _candidates(names)[:-2]:
        try:
            return _strictly(body, codec), codec
        except UnicodeDecodeError:
            continue
    return codecs.charmap_decode(body, "strict", _CP1252_DECODE)[0], CP1252


def encode(text: str, codec: str) -> bytes:
    """Bytes of text in the codec that `decode` named.

    Raises:
        UnicodeEncodeError: when the text has a character that the codec cannot say.
    """
    if codec == CP1252:
        return codecs.charmap_encode(text, "strict", _CP1252_ENCODE)[0]
    return text.encode(codec)


def declared(body: bytes) -> str:
    """MSH-18 as it stands in the bytes of a message that begins with MSH; empty when there is none."""
    field = body[3:4]
    end = body.find(b"\r")  # an LF before it only takes characters away
    if not field or body.count(field, 3, end if end >= 0 else len(body)) < 17:
        return ""
    end = line_end(body)
    if body.count(field, 3, end) < 17:
        return ""
    header = body[:end]
    text = header.decode(_JAPANESE if b"\x1b" in header else "latin-1", "replace")
    fields = text.split(text[3], 18)
    return fields[17].strip() if len(fields) > 17 else ""


def line_end(data: bytes, start: int = 0) -> int:
    """Where the line that starts there ends: before its CR or LF, or with the data."""
    end = data.find(b"\r", start)
    if end < 0:
        end = len(data)
    line_feed = data.find(b"\n", start, end)
    return end if line_feed < 0 else line_feed


@lru_cache(maxsize=256)
def _candidates(names: str) -> tuple[str, ...]:
    """Codecs to try in order, then the one that pure ASCII is said to be in, then the last resort.

    A codec that switches sets covers the rest of MSH-18's repetitions, so it goes first.
    """
    named = [_CODECS[name] for name in (n.strip().upper() for n in _REPETITION.split(names)) if name in _CODECS]
    switching = [_JAPANESE] if _JAPANESE in named else []
    tried = [*switching, *named[:1], "utf-8"]
    return (*tried, next(codec for codec in tried if codec in REVERSIBLE), CP1252)


def _strictly(body: bytes, codec: str) -> str:
    if codec.startswith("iso8859-") and len(body.translate(None, _CONTROLS_C1)) != len(body):
        raise UnicodeDecodeError(codec, b"", 0, 1, "control characters that ISO 8859 text does not hold")
    if codec == CP1252:
        return codecs.charmap_decode(body, "strict", _CP1252_DECODE)[0]
    return body.decode(codec)
