-- What was removed of finished months, summed in the commit that removed it: `count` messages (destination '') or
-- deliveries of a state, and what their receipt or delivery numbers add up to. With it the balance closes as before.
CREATE TABLE retired (
  month text, organization text, channel text, destination text, state text,
  count bigint NOT NULL, numbers bigint NOT NULL, PRIMARY KEY (month, organization, channel, destination, state)
);
ALTER TABLE retired ENABLE ROW LEVEL SECURITY;
ALTER TABLE retired FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON retired USING (organization = ANY (organizations()));
