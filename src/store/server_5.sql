-- Schema of a server's database, 5: the indexes of schema_9.sql. Routers of the versions before go on without a word about them.

CREATE INDEX deliveries_by_target ON deliveries (target, id);
CREATE INDEX deliveries_urgent ON deliveries (target, id) WHERE priority >= 90;
CREATE INDEX deliveries_by_finding ON deliveries (finding);
