-- The tables of the index. Whoever changes them raises VERSION in index.py.

CREATE TABLE job (
    id TEXT PRIMARY KEY, stream TEXT, place INTEGER, created REAL, expires REAL, operation TEXT,
    target TEXT, caller TEXT, status TEXT, done INTEGER, changed INTEGER, nodes TEXT,
    body BLOB
);
CREATE UNIQUE INDEX job_place ON job (stream, place);
CREATE INDEX job_created ON job (created);
CREATE INDEX job_status ON job (status, id);
CREATE INDEX job_operation ON job (operation, id);
CREATE INDEX job_target ON job (target, id);
CREATE INDEX job_caller ON job (caller, id);
CREATE INDEX job_open ON job (id) WHERE NOT done;
-- Short ids: what is behind the last dash.
CREATE INDEX job_short ON job (substr(id, 25));
-- The nodes that a job is for, as it was planned: apart from it, since lists don't need them.
CREATE TABLE plan (job TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID;
CREATE TABLE event (
    stream TEXT, place INTEGER, job TEXT, body BLOB, mark BLOB, PRIMARY KEY (stream, place)
) WITHOUT ROWID;
CREATE INDEX event_job ON event (job, stream, place);
-- What several controllers have stored stands there once.
CREATE UNIQUE INDEX event_mark ON event (mark) WHERE mark IS NOT NULL;
CREATE TABLE task (job TEXT, machine TEXT, PRIMARY KEY (job, machine)) WITHOUT ROWID;
CREATE INDEX task_machine ON task (machine, job);
CREATE TABLE deleted (job TEXT PRIMARY KEY) WITHOUT ROWID;
-- How many jobs there are of each kind: counting them one by one would take too long.
CREATE TABLE tally (
    operation, target, caller, status, jobs INTEGER, PRIMARY KEY (operation, target, caller, status)
) WITHOUT ROWID;

CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    INSERT INTO tally
    VALUES (new.operation, new.target, new.caller, new.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_changed AFTER UPDATE OF status ON job WHEN new.status <> old.status BEGIN
    INSERT INTO tally
    VALUES (old.operation, old.target, old.caller, old.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs - 1;
    INSERT INTO tally
    VALUES (new.operation, new.target, new.caller, new.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
    INSERT INTO tally
    VALUES (old.operation, old.target, old.caller, old.status, 1)
    ON CONFLICT DO UPDATE SET jobs = jobs - 1;
END;
CREATE TRIGGER tally_changed AFTER UPDATE ON tally WHEN new.jobs = 0 BEGIN
    DELETE FROM tally
    WHERE (operation, target, caller, status)
        = (new.operation, new.target, new.caller, new.status);
END;

-- The audit: who has changed something, and who was refused.
CREATE TABLE audit (
    place INTEGER PRIMARY KEY, id TEXT, time REAL, caller TEXT, operation TEXT, status INTEGER,
    job TEXT, body BLOB
);
-- What was stored twice stands there once.
CREATE UNIQUE INDEX audit_id ON audit (id);
CREATE INDEX audit_job ON audit (job);
-- What lists are filtered by: to go through the table itself takes seconds, when it is full.
CREATE INDEX audit_filter ON audit (time, caller, operation, status);

-- What nodes have, as they have said it last; what many have stands there once, by its hash.
CREATE TABLE held (mark BLOB PRIMARY KEY, body BLOB);
CREATE TABLE inventory (machine TEXT PRIMARY KEY, hash TEXT, held BLOB);
-- When this controller listened to them last.
CREATE TABLE listened (one INTEGER PRIMARY KEY, until REAL);

-- How far each stream is folded.
CREATE TABLE position (stream TEXT PRIMARY KEY, created TEXT, sequence INTEGER);
