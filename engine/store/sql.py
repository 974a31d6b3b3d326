"""The path's SQL, each statement named once and read as SQL. Other stores differ only where they say so."""

from __future__ import annotations

# keep
#: Of rows (key, content, first id in the window, message that is replayed): the answers to the same content, and one to
#: other content, for a sender may use one control id for ever.
SEEN = (
    "SELECT k.sent_as, k.content, k.message, k.reply, k.code FROM (VALUES {rows}) AS new CROSS JOIN receipt_key AS k"
    " ON k.sent_as = new.column1 AND k.message >= new.column3 AND k.content IN (new.column2, (SELECT content"
    " FROM receipt_key WHERE sent_as = new.column1 AND message >= new.column3 AND message <> new.column4 LIMIT 1))"
    " ORDER BY k.message"
)
END_REPLAYED = "UPDATE message SET state = 'ended', reason = 'replayed', changed_at = ? WHERE id = ? AND state = 'held'"
DIGEST_OF = "SELECT digest FROM message WHERE id = ?"
ADD_MESSAGE = "INSERT INTO message VALUES {rows}"
ADD_PAYLOAD = "INSERT INTO payload VALUES {rows}"
ADD_RECEIPT_KEY = "INSERT INTO receipt_key VALUES {rows}"
ADD_DELIVERY = (
    "INSERT INTO delivery (id, message, channel, destination, lane, seq, barrier, order_key, rule, state,"
    " open, reason, attempts, attempt, epoch, next_at, changed_at) VALUES {rows}"
)

# claim: rows are (attempt, epoch, at, delivery, attempt before)
CLAIM = (
    "UPDATE delivery SET state = 'claimed', open = 1, attempt = new.column1, epoch = new.column2,"
    " changed_at = new.column3 FROM (VALUES {rows}) AS new"
    " WHERE id = new.column4 AND state IN ('queued', 'in doubt') AND attempt = new.column5"
)
ADD_ATTEMPT = (
    "INSERT INTO attempt (id, delivery, number, epoch, claimed_at, output, content_type, revision, tables)"
    " VALUES {rows}"
)
CLAIMED_BY = "SELECT attempt FROM delivery WHERE id = ?"

# settle: rows are (state, open, reason, attempts, next_at, at, delivery, attempt, epoch)
SETTLE = (
    "UPDATE delivery SET state = new.column1, open = new.column2, reason = new.column3, attempts = new.column4,"
    " next_at = new.column5, changed_at = new.column6 FROM (VALUES {rows}) AS new"
    " WHERE id = new.column7 AND attempt = new.column8 AND epoch = new.column9 AND state = 'claimed'"
)
SETTLED = "SELECT 1 FROM delivery WHERE id = ? AND attempt = ? AND state = ? AND changed_at = ?"
SET_OUTCOME = (
    "UPDATE attempt SET settled_at = new.column1, outcome = new.column2, code = new.column3, answer = new.column4"
    " FROM (VALUES {rows}) AS new WHERE id = new.column5"
)

# set aside before a claim, by a conversion that must not go on
PUT_ASIDE = (
    "UPDATE delivery SET state = ?, open = 2, reason = ?, changed_at = ?"
    " WHERE id = ? AND state IN ('queued', 'in doubt')"
)

# numbers: those of a channel's receipts have the destination ''
LAST_NUMBERS = "SELECT channel, destination, last FROM counter WHERE writer = ?"
SET_LAST_NUMBER = (
    "INSERT INTO counter (channel, destination, writer, last) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (channel, destination, writer) DO UPDATE SET last = excluded.last"
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
)
ADD_EVENT = "INSERT INTO event (organization, writer, seq, at, body, hash) VALUES (?, ?, ?, ?, ?, ?)"
ADD_EVENT_SUBJECT = "INSERT OR IGNORE INTO event_subject VALUES (?, ?, ?, ?)"
SET_HEAD = (
    "INSERT INTO chain VALUES (?, ?, ?, ?)"
    " ON CONFLICT (organization, writer) DO UPDATE SET last = excluded.last, hash = excluded.hash"
)
HEADS = "SELECT organization, last, hash FROM chain WHERE writer = ?"
