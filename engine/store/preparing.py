"""Receipts, attempts and findings made into operations: hashed by the organization's keys, numbered, not yet sealed."""

from __future__ import annotations

import hashlib
from asyncio import AbstractEventLoop
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import orjson

from engine.lineage import Standing
from engine.model import MICROSECONDS, Attempt, Delivery, Finding, Receipt, Settlement
from engine.ports import NewIds
from engine.store.keyring import Keyring, patient_key, receipt_key
from engine.store.operations import Claim, ItemRow, Keep, Payload, PutAside, Settle
from engine.store.sealing import OrganizationKeys, place

REUSED_TEXT = "the sender uses control ids again for other content; its messages are delivered"
ANSWER_BYTES = 64 * 1024
"""Of a destination's answer at most this much is kept."""


class Preparing:
    """Makes the operations of one store."""

    def __init__(self, keyring: Keyring, ids: NewIds, loop: AbstractEventLoop) -> None:
        self._keys = keyring
        self._ids = ids
        self._loop = loop

    def hashes(self, receipt: Receipt) -> tuple[bytes, bytes]:
        """The keyed hash of what a message says, and the plain one of its bytes."""
        content = self._keys[receipt.organization].digest(receipt.canonical)
        return content, hashlib.sha256(receipt.raw).digest() if receipt.raw else content

    def keep(self, receipt: Receipt, content: bytes, digest: bytes) -> Keep:
        """All that is to be kept of a message."""
        keys = self._keys[receipt.organization]
        identity = receipt.identity
        named = identity is not None and identity.control_id
        sent_as = receipt_key(keys, receipt, content) if named or receipt.window else None
        patient = patient_key(keys, identity.patients[0].value) if identity and identity.patients else None
        payload = self._payload(receipt.organization, receipt.raw, receipt.id, "raw") if receipt.raw else None
        deliveries = tuple([self._delivery(receipt, index, keys) for index in range(len(receipt.routes))])
        rules = tuple([route.rule for route in receipt.routes])
        reused = partial(self._reused, receipt, self._ids.next()) if named and receipt.window else None
        return Keep(
            self._loop.create_future(), receipt, sent_as, content, patient, digest, payload, deliveries, rules, reused
        )  # fmt: skip

    def claim(self, attempt: Attempt) -> Claim:
        """An attempt with its output, or without where a stored one is sent again."""
        organization = attempt.delivery.organization
        payload = None
        if not attempt.repeats:
            payload = self._payload(organization, attempt.output, attempt.id, "output")
        items = self._items(attempt.delivery, attempt.findings, attempt.at) if attempt.findings else []
        return Claim(self._loop.create_future(), attempt, payload, items)

    def settle(self, attempt: Attempt, settlement: Settlement) -> Settle:
        """An outcome, with the beginning of what the destination answered."""
        answer = settlement.outcome.answer[:ANSWER_BYTES]
        payload = self._payload(attempt.delivery.organization, answer, attempt.id, "answer") if answer else None
        return Settle(self._loop.create_future(), attempt, settlement, payload)

    def put_aside(
        self, delivery: Delivery, state: str, reason: str, findings: tuple[Finding, ...], at: int
    ) -> PutAside:
        """A delivery that must not or cannot be converted."""
        items = self._items(delivery, findings, at)
        return PutAside(self._loop.create_future(), delivery, state, reason, at, items)

    def _reused(self, receipt: Receipt, number: int) -> ItemRow:
        """An item for a sender that used a control id again, one a day (UTC); the id itself is not told."""
        sender = " ".join(receipt.identity.sender) if receipt.identity else ""
        sender = sender.encode("utf-8", "replace").decode()  # it may hold bytes of no character set
        day = datetime.fromtimestamp(receipt.at // MICROSECONDS, UTC).date().isoformat()
        detail = {"where": "MSH-10", "text": REUSED_TEXT, "subject": f"{sender} {day}", "table": ""}
        return ItemRow(
            number,
            receipt.organization,
            receipt.channel,
            Standing.REUSED.value,
            self._keys[receipt.organization].index(f"item\n\n{sender}\n{day}"),
            self._payload(receipt.organization, orjson.dumps(detail), number, "item"),
            receipt.at,
            receipt.id,
            0,
        )

    def _payload(self, organization: str, data: bytes, owner: int, field: str) -> Payload:
        return Payload(self._keys[organization], data, place(organization, owner, field))

    def _delivery(self, receipt: Receipt, index: int, keys: OrganizationKeys) -> Delivery:
        route = receipt.routes[index]
        scope = f"{receipt.channel}\n{route.destination}\n"
        return Delivery(
            self._ids.next(),
            receipt.id,
            receipt.organization,
            receipt.channel,
            route.destination,
            keys.index(scope + route.lane),
            0,
            keys.index("order\n" + route.order) if route.order else b"",
            keys.index(scope + route.barrier) if route.barrier else b"",
            route.state,
            raw=receipt.raw,
        )

    def _items(self, delivery: Delivery, findings: tuple[Finding, ...], at: int) -> list[ItemRow]:
        """One item for each thing found, however often the message has it."""
        counted = Counter((finding.code, finding.table, finding.subject) for finding in findings)
        firsts = {(f.code, f.table, f.subject): f for f in reversed(findings)}
        return [self._item(delivery, firsts[key], at, count) for key, count in counted.items()]

    def _item(self, delivery: Delivery, finding: Finding, at: int, count: int) -> ItemRow:
        number = self._ids.next()
        detail = {"where": finding.where, "text": finding.text, "subject": finding.subject, "table": finding.table}
        return ItemRow(
            number,
            delivery.organization,
            delivery.channel,
            finding.code,
            self._keys[delivery.organization].index(f"item\n{finding.table}\n{finding.subject}"),
            self._payload(delivery.organization, orjson.dumps(detail), number, "item"),
            at,
            delivery.message,
            delivery.id,
            count,
        )
