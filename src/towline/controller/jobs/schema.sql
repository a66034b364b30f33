-- The tables of the index. Whoever changes them raises VERSION in index.py.

CREATE TABLE job (
    sequence INTEGER PRIMARY KEY, id TEXT UNIQUE, created REAL, expires REAL, operation TEXT,
    target TEXT, caller TEXT, machine TEXT, status TEXT, done INTEGER, nodes TEXT, waves INTEGER,
    body BLOB
);
CREATE INDEX job_created ON job (created);
CREATE INDEX job_status ON job (status);
CREATE INDEX job_operation ON job (operation);
CREATE INDEX job_target ON job (target);
CREATE INDEX job_caller ON job (caller);
CREATE INDEX job_open ON job (expires) WHERE NOT done;
CREATE INDEX job_waves ON job (id) WHERE waves AND NOT done;
CREATE TABLE event (sequence INTEGER PRIMARY KEY, job TEXT, body BLOB);
CREATE INDEX event_job ON event (job);
CREATE TABLE task (
    job TEXT, machine TEXT, status TEXT, until REAL, PRIMARY KEY (job, machine)
) WITHOUT ROWID;
CREATE INDEX task_machine ON task (machine, job);
CREATE INDEX task_until ON task (until) WHERE until IS NOT NULL AND status = 'pending';
-- What nodes were sent of jobs with waves, as their turn came.
CREATE TABLE turn (sequence INTEGER PRIMARY KEY, job TEXT, machine TEXT);
CREATE INDEX turn_job ON turn (job);
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

-- How far each stream is folded.
CREATE TABLE position (stream TEXT PRIMARY KEY, created TEXT, sequence INTEGER);
