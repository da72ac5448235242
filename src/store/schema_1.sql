-- Schema 1. Times are milliseconds since the epoch. Rowid tables with small indexes: three times the rows per second
-- of WITHOUT ROWID tables that hold a payload (docs/performance.md).
CREATE TABLE targets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT '{}', updated_at INTEGER NOT NULL DEFAULT 0) STRICT;

-- What is remembered of every check that ever failed.
CREATE TABLE findings (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, check_id TEXT NOT NULL, state TEXT NOT NULL,
  change TEXT NOT NULL, version_time INTEGER NOT NULL, version_content INTEGER NOT NULL, event_id TEXT NOT NULL,
  account_id TEXT NOT NULL, account_name TEXT NOT NULL, rule_id TEXT NOT NULL, rule_title TEXT NOT NULL,
  risk TEXT NOT NULL, service TEXT NOT NULL, region TEXT NOT NULL, resource TEXT NOT NULL, env TEXT NOT NULL,
  score INTEGER NOT NULL, first_seen INTEGER NOT NULL, failing_since INTEGER, resolved_at INTEGER,
  times_failed INTEGER NOT NULL, times_resolved INTEGER NOT NULL, failures TEXT NOT NULL DEFAULT '[]',
  updated_at INTEGER NOT NULL, json BLOB NOT NULL) STRICT;
CREATE INDEX findings_by_hash ON findings (hash);
CREATE INDEX findings_by_update ON findings (updated_at) WHERE state = 'resolved';

-- Why: one row for each version of a remembered finding.
CREATE TABLE decisions (id INTEGER PRIMARY KEY, finding INTEGER NOT NULL, at INTEGER NOT NULL, event_id TEXT NOT NULL,
  change TEXT NOT NULL, trace BLOB NOT NULL) STRICT;
CREATE INDEX decisions_by_finding ON decisions (finding);

-- Versions taken in of late, for duplicates and order: 16 bytes each (check hash, packed version), one row a commit.
CREATE TABLE recent (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;

-- Outbox of append-only targets: a row is there until it is delivered. Numbers are never used twice (AUTOINCREMENT):
-- lanes remember how far they have read.
CREATE TABLE records (id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, urgent INTEGER NOT NULL, at INTEGER NOT NULL,
  sent_at INTEGER NOT NULL, codec INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE INDEX records_urgent ON records (target, id) WHERE urgent = 1;

-- Outbox of stateful targets: the newest wanted state of a key, until it is delivered.
CREATE TABLE deliveries (id INTEGER PRIMARY KEY AUTOINCREMENT, target INTEGER NOT NULL, key TEXT NOT NULL, finding INTEGER NOT NULL,
  account TEXT NOT NULL, channel TEXT, priority INTEGER NOT NULL, wanted TEXT NOT NULL, revision INTEGER NOT NULL,
  state TEXT NOT NULL, due_at INTEGER NOT NULL, attempts INTEGER NOT NULL, at INTEGER NOT NULL,
  sent_at INTEGER NOT NULL, sending_since INTEGER, event_id TEXT NOT NULL, error TEXT, payload TEXT NOT NULL,
  UNIQUE (target, key)) STRICT;

-- What each target is known to hold for a key.
CREATE TABLE ledger (target INTEGER NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL,
  name TEXT NOT NULL, entry TEXT NOT NULL, payload TEXT NOT NULL, updated_at INTEGER NOT NULL,
  PRIMARY KEY (target, key)) STRICT;

-- Which findings stand behind a key; failing = 0 once the finding passes.
CREATE TABLE members (finding INTEGER NOT NULL, target INTEGER NOT NULL, key TEXT NOT NULL, failing INTEGER NOT NULL,
  PRIMARY KEY (finding, target, key)) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_key ON members (target, key, failing);

-- What was sent, for `explain`.
CREATE TABLE answers (id INTEGER PRIMARY KEY, finding INTEGER NOT NULL, target INTEGER NOT NULL, key TEXT NOT NULL,
  at INTEGER NOT NULL, wanted TEXT NOT NULL, class TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE INDEX answers_by_finding ON answers (finding);

-- Decide again at `due_at`.
CREATE TABLE holds (finding INTEGER NOT NULL, script TEXT NOT NULL, due_at INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (finding, script)) STRICT;
CREATE INDEX holds_by_due ON holds (due_at);

CREATE TABLE dead_letters (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT, source TEXT,
  reason TEXT NOT NULL, check_id TEXT, event_id TEXT, body BLOB NOT NULL, meta TEXT NOT NULL) STRICT;

-- Messages that an operator sent through again; the running router takes them from here.
CREATE TABLE inbox (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, source TEXT NOT NULL, body BLOB NOT NULL,
  meta TEXT NOT NULL) STRICT;
