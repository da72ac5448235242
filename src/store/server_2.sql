-- Schema of a server's database, 2: whose it is. No migration may alter `router`: who holds its row would wait for those who wait
-- for the row.

CREATE TABLE installation (id BIGINT PRIMARY KEY, name TEXT NOT NULL);
