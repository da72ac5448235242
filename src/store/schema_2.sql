-- Schema 2: silences. `said` is what the log already said of one: 0 nothing, 1 that it began, 2 that it ends within a
-- day, 3 that it ended. A silence ends by its time alone, so nothing needs to run for it to end.
CREATE TABLE silences (id INTEGER PRIMARY KEY AUTOINCREMENT, matchers TEXT NOT NULL, targets TEXT NOT NULL,
  author TEXT NOT NULL, reason TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  said INTEGER NOT NULL DEFAULT 0) STRICT;

-- Who did what when. Each change of a silence adds a row, so its last number is the version of the whole.
CREATE TABLE silences_audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, silence INTEGER NOT NULL,
  who TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL) STRICT;

-- What a silence muted. `pending`: decided again once the silence is over, if the finding still fails.
CREATE TABLE silenced (silence INTEGER NOT NULL, finding INTEGER NOT NULL, target INTEGER NOT NULL,
  times INTEGER NOT NULL, last_at INTEGER NOT NULL, pending INTEGER NOT NULL,
  PRIMARY KEY (silence, finding, target)) STRICT, WITHOUT ROWID;
CREATE INDEX silenced_pending ON silenced (silence, finding) WHERE pending = 1;
CREATE INDEX silenced_by_finding ON silenced (finding);
