-- Schema 9: what a lane looks for in a long queue, every second, and what the upkeep asks of each finding.
CREATE INDEX deliveries_by_target ON deliveries (target, id);
CREATE INDEX deliveries_urgent ON deliveries (target, id) WHERE priority >= 90;
CREATE INDEX deliveries_by_finding ON deliveries (finding);
