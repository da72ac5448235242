-- Schema 5: keys that are brought to their target again at a time (a reminder, the end of an acceptance), and silences that
-- come from a ticket: `origin` is target and key, on two lines.
ALTER TABLE ledger ADD COLUMN wake_at INTEGER;
CREATE INDEX ledger_wake ON ledger (target, wake_at) WHERE wake_at IS NOT NULL;
ALTER TABLE silences ADD COLUMN origin TEXT NOT NULL DEFAULT '';
