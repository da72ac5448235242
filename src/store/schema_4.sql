-- Schema 4: storms and budgets. A storm is over (`done_at`) once it was released and everything it held is decided, or
-- once nothing of it fails any more; what it holds are the members of its key.
CREATE TABLE storms (id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, title TEXT NOT NULL,
  target INTEGER NOT NULL, key TEXT NOT NULL, began_at INTEGER NOT NULL, accounts INTEGER NOT NULL,
  findings INTEGER NOT NULL, released_at INTEGER, released_by TEXT, done_at INTEGER) STRICT;
CREATE UNIQUE INDEX storms_open ON storms (rule) WHERE done_at IS NULL;

-- New tickets and messages by owner and day, and what went into the digest instead.
CREATE TABLE interrupts (day TEXT NOT NULL, owner TEXT NOT NULL, sent INTEGER NOT NULL, over INTEGER NOT NULL,
  PRIMARY KEY (day, owner)) STRICT, WITHOUT ROWID;
