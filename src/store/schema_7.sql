-- Schema 7: what a backlog holds beyond a size is packed: many rows of an append-only target in one compressed blob.
-- Their numbers, `first` to `last`, come back with them.
CREATE TABLE packs (id INTEGER PRIMARY KEY, target INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  rows INTEGER NOT NULL, at INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE INDEX packs_by_target ON packs (target, first);

-- When a finding that fails was last seen: the round of its account, and when it expires. A check that expires is not
-- seen again by itself, so it has no round.
CREATE TABLE sightings (finding INTEGER PRIMARY KEY, account TEXT NOT NULL, round INTEGER, expires_at INTEGER) STRICT;
CREATE INDEX sightings_by_round ON sightings (account, round) WHERE round IS NOT NULL;
CREATE INDEX sightings_by_end ON sightings (expires_at) WHERE expires_at IS NOT NULL;
INSERT INTO sightings SELECT id, account_id, 0, NULL FROM findings WHERE state <> 'resolved' AND service <> 'RTM';

-- The rounds in which the platform goes through an account: the number of the one that runs, how many checks it has had,
-- how many a full one has, and when the last of them was sent.
CREATE TABLE rounds (account TEXT PRIMARY KEY, number INTEGER NOT NULL, checks INTEGER NOT NULL, full INTEGER NOT NULL,
  last_at INTEGER NOT NULL) STRICT;

-- Findings that failed before the router came: told only once they fail anew.
CREATE TABLE adopted (finding INTEGER PRIMARY KEY) STRICT;
