"""Items: what a person should look at although its message went on, one row for each subject, counted.

Invariant: what is open already is counted and not sealed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from engine.store import sql
from engine.store.ledger import Transaction
from engine.store.operations import ItemRow


def add_items(t: Transaction, items: Iterable[ItemRow]) -> None:
    """Count what is open already; open what is new."""
    for i in items:
        key = (i.organization, i.channel, i.code, i.subject)
        if t.connection.execute(sql.COUNT_ITEM, (i.count, i.at, *key)).rowcount == 0:
            row = (i.id, *key, i.payload.sealed(), i.at, i.at, i.count, i.message, i.delivery)
            t.connection.execute(sql.ADD_ITEM, row)


def summed(lists: Iterable[list[ItemRow]]) -> Iterable[ItemRow]:
    """The items of a batch, the same ones counted together."""
    found: dict[tuple[str, str, str, bytes], ItemRow] = {}
    for item in chain.from_iterable(lists):
        same = found.setdefault((item.organization, item.channel, item.code, item.subject), item)
        if same is not item:
            same.count += item.count
    return found.values()
