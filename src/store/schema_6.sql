-- Schema 6: where the candidate scripts (`shadow_routes`) decide otherwise than the live ones, counted, with examples.
CREATE TABLE shadow (version TEXT NOT NULL, live_version TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
  rule TEXT NOT NULL, count INTEGER NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
  samples TEXT NOT NULL, PRIMARY KEY (version, live_version, kind, target, rule)) STRICT, WITHOUT ROWID;
