-- Schema 3: the rest of what scripts see of a finding's history. Times are as received, milliseconds since the epoch.
ALTER TABLE findings ADD COLUMN opened_at INTEGER;
ALTER TABLE findings ADD COLUMN reopened_at INTEGER;
ALTER TABLE findings ADD COLUMN last_resolved_at INTEGER;
ALTER TABLE findings ADD COLUMN flapping INTEGER NOT NULL DEFAULT 0;
-- What was known before: when it began, and when it ended.
UPDATE findings SET opened_at = first_seen, last_resolved_at = resolved_at;
