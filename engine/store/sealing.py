"""Sealing: what is stored is compressed, encrypted, and bound to the place it was stored for.

Invariant: no payload, output or answer reaches a disk in clear, and a sealed value moved to another organization,
message or field does not open. Search keys are keyed hashes (BLAKE2b with a key, RFC 7693), so that equal things are
found and nothing can be read back.

A sealed value is: key id (4 bytes), nonce (12 bytes), AES-256-GCM ciphertext of the zstd frame, tag (16 bytes).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from functools import cache
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import UnsafeStore
from engine.secret_files import make_secret
from engine.store.dictionary import CURRENT, dictionary

KEY_BYTES = 32
NONCE_BYTES = 12
HEAD_BYTES = 4 + NONCE_BYTES
LARGEST_PAYLOAD_BYTES = 1 << 30
NONCES_AT_ONCE = 256

_local = threading.local()


class OrganizationKeys:
    """The two keys of one organization: one seals, one indexes."""

    __slots__ = ("_cipher", "_index", "head", "id")

    def __init__(self, key_id: int, material: bytes) -> None:
        self.id = key_id
        self.head = key_id.to_bytes(4, "big")
        self._cipher = AESGCM(material[:KEY_BYTES])
        self._index = material[KEY_BYTES:]

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Compress and encrypt `data` for one place (organization, id and field); it opens nowhere else."""
        return self.encrypt(_compressor().compress(data), place)

    def encrypt(self, packed: bytes, place: bytes) -> bytes:
        """Encrypt what `compress_together` packed."""
        nonce = _nonce()
        return self.head + nonce + self._cipher.encrypt(nonce, packed, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """The bytes that were sealed for this place.

        Raises:
            UnsafeStore: when the value was changed, moved, or sealed under another key.
        """
        try:
            packed = self._cipher.decrypt(sealed[4:HEAD_BYTES], sealed[HEAD_BYTES:], place)
        except InvalidTag:
            raise UnsafeStore("opening a stored value: it was changed or moved", code="seal_broken") from None
        return _unpacked(packed)

    def index(self, text: str) -> bytes:
        """The search key of a text: 16 bytes that equal only for equal texts of this organization."""
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=self._index, digest_size=16).digest()

    def digest(self, data: bytes) -> bytes:
        """The keyed hash of a content: 16 bytes."""
        return hashlib.blake2b(data, key=self._index, digest_size=16).digest()


def compress_together(values: list[bytes | memoryview | bytearray]) -> list[bytes]:
    """Pack many values in one call: each call gives up the interpreter, and the loop is slow to give it back."""
    if not values:
        return []
    packed = _compressor().multi_compress_to_buffer(values)
    return [packed[at].tobytes() for at in range(len(packed))]


def place(organization: str, owner: int, field: str) -> bytes:
    """What a sealed value is bound to."""
    return f"{organization}\n{owner}\n{field}".encode()


def new_material() -> bytes:
    """Fresh key material for one organization."""
    return os.urandom(2 * KEY_BYTES)


def wrap(master: bytes, material: bytes, organization: str) -> bytes:
    """Encrypt an organization's keys under the site's master key."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(master).encrypt(nonce, material, b"key:" + organization.encode())


def unwrap(master: bytes, wrapped: bytes, organization: str) -> bytes:
    """Decrypt what `wrap` made.

    Raises:
        UnsafeStore: when the master key is not the one that wrapped it.
    """
    try:
        return AESGCM(master).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], b"key:" + organization.encode())
    except InvalidTag:
        raise UnsafeStore(
            "opening the store: this key does not belong to it",
            code="wrong_key",
            advice="Set INTERLOCK_KEY, or put back the key file that was made with this data folder.",
        ) from None


def master_key(text: str, file: Path, *, may_create: bool) -> bytes:
    """The site's master key: from INTERLOCK_KEY when set, else from the key file, which a first start makes (0600).

    Raises:
        UnsafeStore: when the key is malformed, the file is readable by others, or missing where it must exist.
    """
    if text:
        return _decode_key(text, "INTERLOCK_KEY")
    if not file.exists():
        if not may_create:
            raise UnsafeStore(
                f"reading the key file {file}: it does not exist",
                code="key_missing",
                advice="Put the key file back or set INTERLOCK_KEY; without the key the stored messages stay sealed.",
            )
        make_secret(file, base64.b64encode(os.urandom(KEY_BYTES)).decode())
    if file.stat().st_mode & 0o077:
        raise UnsafeStore(
            f"reading the key file {file}: others may read it", code="key_exposed", advice=f"Run: chmod 600 {file}"
        )
    return _decode_key(file.read_text().strip(), str(file))


def _decode_key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise UnsafeStore(
            f"reading the key from {where}: it is not 32 bytes in base64",
            code="key_malformed",
            advice="Make one with: python3 -c 'import os,base64;print(base64.b64encode(os.urandom(32)).decode())'",
        )
    return key


def _nonce() -> bytes:
    """Twelve random bytes; the system is asked for many at a time, for every call of it gives up the interpreter."""
    pool: list[bytes] | None = getattr(_local, "nonces", None)
    if not pool:
        block = os.urandom(NONCE_BYTES * NONCES_AT_ONCE)
        pool = _local.nonces = [block[i : i + NONCE_BYTES] for i in range(0, len(block), NONCE_BYTES)]
    return pool.pop()


def _compressor() -> zstandard.ZstdCompressor:
    """One compressor a thread: zstandard's objects must not be shared between threads."""
    try:
        return _local.compressor  # type: ignore[no-any-return]
    except AttributeError:
        _local.compressor = zstandard.ZstdCompressor(level=1, dict_data=_prepared())
        return _local.compressor  # type: ignore[no-any-return]


@cache
def _prepared() -> zstandard.ZstdCompressionDict:
    """The current dictionary, digested once for the process."""
    current = dictionary(CURRENT)
    current.precompute_compress(level=1)
    return current


def _unpacked(packed: bytes) -> bytes:
    """Decompress with the dictionary that the value names; 0 names none."""
    number = zstandard.get_frame_parameters(packed).dict_id
    found: dict[int, zstandard.ZstdDecompressor] | None = getattr(_local, "decompressors", None)
    if found is None:
        found = _local.decompressors = {}
    if number not in found:
        found[number] = zstandard.ZstdDecompressor(dict_data=dictionary(number) if number else None)
    return found[number].decompress(packed, max_output_size=LARGEST_PAYLOAD_BYTES)
