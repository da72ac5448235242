-- Schema 8: how long a row waited until its answer, and how much of that for the target's limits (over all its attempts).
ALTER TABLE answers ADD COLUMN waited_ms INTEGER;
ALTER TABLE answers ADD COLUMN limiter_ms INTEGER;
ALTER TABLE deliveries ADD COLUMN limiter_ms INTEGER NOT NULL DEFAULT 0;
