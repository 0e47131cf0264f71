CREATE TABLE liftlock_ledger (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    version BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO liftlock_ledger (single, version, sequence, hash)
VALUES (1, 1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE liftlock_entries (
    sequence INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    environment TEXT,
    run TEXT,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX liftlock_entries_environment ON liftlock_entries (environment, sequence);
CREATE INDEX liftlock_entries_run ON liftlock_entries (run, sequence);

CREATE TABLE liftlock_artifacts (
    hash TEXT PRIMARY KEY,
    content BLOB NOT NULL
);

CREATE TABLE liftlock_leases (
    environment TEXT PRIMARY KEY,
    token BIGINT NOT NULL,
    run TEXT,
    actor TEXT,
    since BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ttl BIGINT NOT NULL
);

CREATE TRIGGER liftlock_entries_no_update BEFORE UPDATE ON liftlock_entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER liftlock_entries_no_delete BEFORE DELETE ON liftlock_entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER liftlock_artifacts_no_update BEFORE UPDATE ON liftlock_artifacts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER liftlock_artifacts_no_delete BEFORE DELETE ON liftlock_artifacts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
