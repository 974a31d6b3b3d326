-- The path's tables. Times are microseconds since 1970 (UTC); ids are time-ordered 63-bit numbers;
-- `sent_as`, `content`, `patient`, lanes and order keys are keyed hashes: nothing here can be read back.

CREATE TABLE site (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE key (
  id INTEGER PRIMARY KEY, organization TEXT NOT NULL UNIQUE, wrapped BLOB NOT NULL, created_at INTEGER NOT NULL
);

-- The latest of the gapless numbers that a writer gives out: a channel's receipt numbers (destination ''), from which
-- `received` is read, and a destination's delivery numbers, from which `accepted` is read.
CREATE TABLE counter (
  channel TEXT, destination TEXT, writer INTEGER, last INTEGER NOT NULL, PRIMARY KEY (channel, destination, writer)
) WITHOUT ROWID;

CREATE TABLE message (
  id INTEGER PRIMARY KEY,
  organization TEXT NOT NULL, channel TEXT NOT NULL, writer INTEGER NOT NULL, receipt INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL,
  sent_as BLOB, content BLOB, patient BLOB, original INTEGER, revision TEXT NOT NULL, changed_at INTEGER NOT NULL
);
CREATE INDEX message_by_channel ON message (channel, id, state);
CREATE INDEX message_by_patient ON message (patient, id) WHERE patient IS NOT NULL;
CREATE INDEX message_stuck ON message (state, id) WHERE state = 'held';
CREATE INDEX message_by_original ON message (original) WHERE original IS NOT NULL;

-- Sealed bytes, written once: a message's own id holds what came in, an attempt's id what was to go out.
CREATE TABLE payload (id INTEGER PRIMARY KEY, organization TEXT NOT NULL, sealed BLOB NOT NULL);

-- What every kept message was called and what was answered: a resend gets the stored answer again, and a search by
-- control id, the first eight bytes of `sent_as`, goes by it. The other eight are the channel and MSH-3 to MSH-6.
CREATE TABLE receipt_key (
  organization TEXT NOT NULL, sent_as BLOB, content BLOB, message INTEGER, reply TEXT NOT NULL, code TEXT NOT NULL,
  PRIMARY KEY (sent_as, content, message)
) WITHOUT ROWID;

-- `seq` is the delivery number: it rises in every lane of the destination. `barrier` is the second lane of a merge.
-- `open`: 0 has ended, 1 flows (queued, claimed, in doubt), 2 waits for a person (held, dead).
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY, organization TEXT NOT NULL, message INTEGER NOT NULL,
  channel TEXT NOT NULL, destination TEXT NOT NULL, lane BLOB NOT NULL, seq INTEGER NOT NULL,
  barrier BLOB, order_key BLOB NOT NULL, rule TEXT NOT NULL,
  state TEXT NOT NULL, open INTEGER NOT NULL, reason TEXT NOT NULL,
  attempts INTEGER NOT NULL, attempt INTEGER NOT NULL, epoch INTEGER NOT NULL,
  next_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
);
CREATE INDEX delivery_by_message ON delivery (message);
CREATE INDEX delivery_open ON delivery (channel, destination, lane, seq) WHERE open > 0;
CREATE INDEX delivery_stuck ON delivery (state, id) WHERE open = 2;
CREATE INDEX delivery_in_doubt ON delivery (id) WHERE state = 'in doubt';
CREATE INDEX delivery_barrier ON delivery (barrier, seq) WHERE barrier IS NOT NULL AND open > 0;

CREATE TABLE attempt (
  id INTEGER PRIMARY KEY, organization TEXT NOT NULL, delivery INTEGER NOT NULL, number INTEGER NOT NULL, epoch INTEGER NOT NULL,
  claimed_at INTEGER NOT NULL, output INTEGER NOT NULL, content_type TEXT NOT NULL,
  revision TEXT NOT NULL, tables TEXT NOT NULL,
  settled_at INTEGER, outcome TEXT, code TEXT, answer BLOB
);
CREATE INDEX attempt_by_delivery ON attempt (delivery);

-- One link a batch and organization: everything that happened, in order, chained by hash.
CREATE TABLE event (
  organization TEXT, writer INTEGER, seq INTEGER, at INTEGER NOT NULL,
  body BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (organization, writer, seq)
) WITHOUT ROWID;

-- The head of each chain: a chain cut short at its end does not verify.
CREATE TABLE chain (
  organization TEXT, writer INTEGER, last INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (organization, writer)
) WITHOUT ROWID;

-- Where a person's act or an unusual turn of one message or delivery is found in the chain.
CREATE TABLE event_subject (
  subject INTEGER, organization TEXT, writer INTEGER, seq INTEGER, PRIMARY KEY (subject, organization, writer, seq)
) WITHOUT ROWID;

-- Something a person should look at although the message went on, e.g. an unmapped code: one row, counted.
CREATE TABLE item (
  id INTEGER PRIMARY KEY, organization TEXT NOT NULL, channel TEXT NOT NULL, code TEXT NOT NULL, subject BLOB NOT NULL,
  sealed BLOB NOT NULL, opened_at INTEGER NOT NULL, latest_at INTEGER NOT NULL, count INTEGER NOT NULL,
  message INTEGER NOT NULL, delivery INTEGER NOT NULL, closed_at INTEGER, closed_by TEXT, reason TEXT
);
CREATE UNIQUE INDEX item_open ON item (organization, channel, code, subject) WHERE closed_at IS NULL;

-- What a person set: a channel (destination '') or a destination of it is started, paused or stopped.
CREATE TABLE channel_state (
  channel TEXT, destination TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (channel, destination)
) WITHOUT ROWID;

CREATE TABLE channel_revision (
  channel TEXT, revision TEXT, at INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (channel, revision)
) WITHOUT ROWID;

CREATE TABLE token (
  id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, prefix TEXT NOT NULL, created_at INTEGER NOT NULL, revoked_at INTEGER
);
