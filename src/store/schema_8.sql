-- Schema 8.

-- How long a row waited until its answer, and how much of that for the target's limits (over all its attempts).
ALTER TABLE answers ADD COLUMN waited_ms INTEGER;
ALTER TABLE answers ADD COLUMN limiter_ms INTEGER;
ALTER TABLE deliveries ADD COLUMN limiter_ms INTEGER NOT NULL DEFAULT 0;

-- The number of a dead letter is given once: whoever looked at number 12 must not drop another 12.
ALTER TABLE dead_letters RENAME TO old_dead_letters;
CREATE TABLE dead_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT,
  source TEXT, reason TEXT NOT NULL, check_id TEXT, event_id TEXT, body BLOB NOT NULL, meta TEXT NOT NULL) STRICT;
INSERT INTO dead_letters SELECT * FROM old_dead_letters;
DROP TABLE old_dead_letters;
