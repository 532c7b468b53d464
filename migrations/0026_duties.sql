-- Sending to other servers and telling application services are duties like the others, which are
-- now all named as the work that they are.

INSERT INTO duties (name, position, holder)
SELECT 'sending to other servers', position, holder FROM outgoing_progress;
DROP TABLE outgoing_progress;

INSERT INTO duties (name, position, holder)
SELECT 'telling application services', 0, holder FROM appservice_delivery;
DROP TABLE appservice_delivery;

UPDATE duties SET name = 'pushing' WHERE name = 'push';
UPDATE duties SET name = 'sending delayed events' WHERE name = 'delayed events';
UPDATE duties SET name = 'looking after leaves of calls' WHERE name = 'call_leaves';
