-- What was removed of finished months, summed in the commit that removed it: `count` messages (destination '') or
-- deliveries of a state, and what their receipt or delivery numbers add up to. With it the balance closes as before.
CREATE TABLE retired (
  month TEXT, organization TEXT, channel TEXT, destination TEXT, state TEXT,
  count INTEGER NOT NULL, numbers INTEGER NOT NULL, PRIMARY KEY (month, organization, channel, destination, state)
) WITHOUT ROWID;
