CREATE TABLE liftlock_ledger (
    single BIGINT PRIMARY KEY CHECK (single = 1),
    version BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO liftlock_ledger (single, version, sequence, hash)
VALUES (1, 1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE liftlock_entries (
    sequence BIGINT PRIMARY KEY,
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
    content BYTEA NOT NULL
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

CREATE FUNCTION liftlock_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER liftlock_entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON liftlock_entries
    FOR EACH STATEMENT EXECUTE FUNCTION liftlock_append_only();
CREATE TRIGGER liftlock_artifacts_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON liftlock_artifacts
    FOR EACH STATEMENT EXECUTE FUNCTION liftlock_append_only();
