-- Schema of a server's database, 4: the last transaction of each router that committed, so that one whose answer got lost can be told
-- from one that never was.

CREATE TABLE commits (writer TEXT PRIMARY KEY, token TEXT NOT NULL, at TIMESTAMPTZ NOT NULL);
