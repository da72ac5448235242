-- Schema of a server's database, 3: each lane has an owner of its own. Lane 0 is the duty: to receive and to decide.

CREATE TABLE leases (lane BIGINT PRIMARY KEY, holder TEXT NOT NULL, fence BIGINT NOT NULL, since TIMESTAMPTZ, expires_at TIMESTAMPTZ);
-- Who is there to own lanes.
CREATE TABLE replicas (name TEXT PRIMARY KEY, expires_at TIMESTAMPTZ NOT NULL);
