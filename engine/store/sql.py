"""The statements of the path, each named once and read as SQL; both databases run them as they stand here."""

from __future__ import annotations

from engine.store.connection import Many

# keep
#: Of rows (key, content, first id in the window, message that is replayed): the answers to the same content, and one to
#: other content, for a sender may use one control id for ever.
SEEN = Many(
    "bytea bytea bigint bigint",
    "SELECT k.sent_as, k.content, k.message, k.reply, k.code FROM ({rows}) AS new CROSS JOIN receipt_key AS k"
    " WHERE k.sent_as = new.column1 AND k.message >= new.column3 AND k.content IN (new.column2, (SELECT content"
    " FROM receipt_key WHERE sent_as = new.column1 AND message >= new.column3 AND message <> new.column4 LIMIT 1))"
    " ORDER BY k.message",
)
END_REPLAYED = "UPDATE message SET state = 'ended', reason = 'replayed', changed_at = ? WHERE id = ? AND state = 'held'"
DIGEST_OF = "SELECT digest FROM message WHERE id = ?"
ADD_MESSAGE = Many(
    "bigint text text int bigint text text text bigint bytea bytea bytea bytea bigint text bigint",
    "INSERT INTO message (id, organization, channel, writer, receipt, state, reason, type, size, digest, sent_as,"
    " content, patient, original, revision, changed_at) {rows}",
)
ADD_PAYLOAD = Many("bigint text bytea", "INSERT INTO payload (id, organization, sealed) {rows}")
ADD_RECEIPT_KEY = Many(
    "text bytea bytea bigint text text",
    "INSERT INTO receipt_key (organization, sent_as, content, message, reply, code) {rows}",
)
ADD_DELIVERY = Many(
    "bigint text bigint text text bytea bigint bytea bytea text text int text bigint bigint bigint bigint bigint",
    "INSERT INTO delivery (id, organization, message, channel, destination, lane, seq, barrier, order_key, rule, state,"
    " open, reason, attempts, attempt, epoch, next_at, changed_at) {rows}",
)

# claim: rows are (attempt, epoch, at, delivery, attempt before)
CLAIM = Many(
    "bigint bigint bigint bigint bigint",
    "UPDATE delivery SET state = 'claimed', open = 1, attempt = new.column1, epoch = new.column2,"
    " changed_at = new.column3 FROM ({rows}) AS new"
    " WHERE id = new.column4 AND state IN ('queued', 'in doubt') AND attempt = new.column5",
)
ADD_ATTEMPT = Many(
    "bigint text bigint bigint bigint bigint bigint text text text",
    "INSERT INTO attempt (id, organization, delivery, number, epoch, claimed_at, output, content_type, revision,"
    " tables) {rows}",
)
CLAIMED_BY = "SELECT attempt FROM delivery WHERE id = ?"

# settle: rows are (state, open, reason, attempts, next_at, at, delivery, attempt, epoch)
SETTLE = Many(
    "text int text bigint bigint bigint bigint bigint bigint",
    "UPDATE delivery SET state = new.column1, open = new.column2, reason = new.column3, attempts = new.column4,"
    " next_at = new.column5, changed_at = new.column6 FROM ({rows}) AS new"
    " WHERE id = new.column7 AND attempt = new.column8 AND epoch = new.column9 AND state = 'claimed'",
)
SETTLED = "SELECT 1 FROM delivery WHERE id = ? AND attempt = ? AND state = ? AND changed_at = ?"
SET_OUTCOME = Many(
    "bigint text text bytea bigint",
    "UPDATE attempt SET settled_at = new.column1, outcome = new.column2, code = new.column3, answer = new.column4"
    " FROM ({rows}) AS new WHERE id = new.column5",
)

# set aside before a claim, by a conversion that must not go on
PUT_ASIDE = (
    "UPDATE delivery SET state = ?, open = 2, reason = ?, changed_at = ?"
    " WHERE id = ? AND state IN ('queued', 'in doubt') AND attempt = ?"
)

# numbers: those of a channel's receipts have the destination ''
LAST_NUMBERS = "SELECT channel, destination, last FROM counter WHERE writer = ?"
SET_LAST_NUMBER = Many(
    "text text int bigint",
    "INSERT INTO counter (channel, destination, writer, last) {rows}"
    " ON CONFLICT (channel, destination, writer) DO UPDATE SET last = excluded.last",
)

# items and events
COUNT_ITEM = (
    "UPDATE item SET count = count + ?, latest_at = ?"
    " WHERE organization = ? AND channel = ? AND code = ? AND subject = ? AND closed_at IS NULL"
)
ADD_ITEM = (
    "INSERT INTO item"
    " (id, organization, channel, code, subject, sealed, opened_at, latest_at, count, message, delivery)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (organization, channel, code, subject) WHERE closed_at IS NULL DO UPDATE"
    " SET count = item.count + excluded.count, latest_at = excluded.latest_at"  # of another process, just now
)
ADD_EVENT = Many(
    "text int bigint bigint bytea bytea",
    "INSERT INTO event (organization, writer, seq, at, body, hash) {rows}",
)
ADD_EVENT_SUBJECT = Many(
    "bigint text int bigint",
    "INSERT INTO event_subject (subject, organization, writer, seq) {rows} ON CONFLICT DO NOTHING",
)
SET_HEAD = Many(
    "text int bigint bytea",
    "INSERT INTO chain (organization, writer, last, hash) {rows}"
    " ON CONFLICT (organization, writer) DO UPDATE SET last = excluded.last, hash = excluded.hash",
)
HEADS = "SELECT organization, last, hash FROM chain WHERE writer = ?"
SET_SITE = "INSERT INTO site (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
"""Remember a fact of the whole site."""
