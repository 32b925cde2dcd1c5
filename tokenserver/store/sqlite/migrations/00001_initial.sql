-- Times are milliseconds since the epoch.

-- +goose Up
CREATE TABLE users (
    name       TEXT PRIMARY KEY,
    locked     INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE clients (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    secret_hash BLOB NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE types (
    name       TEXT PRIMARY KEY,
    method     TEXT NOT NULL,
    class      TEXT NOT NULL,
    ttl        INTEGER NOT NULL, -- seconds
    digits     INTEGER NOT NULL,
    high_value INTEGER NOT NULL,
    require    TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE tokens (
    hash       BLOB PRIMARY KEY,
    user       TEXT NOT NULL REFERENCES users (name),
    expires_at INTEGER NOT NULL,
    confirm    INTEGER NOT NULL,
    replaces   TEXT NOT NULL,
    used_by    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    id             TEXT PRIMARY KEY,
    enrollment     TEXT NOT NULL UNIQUE,
    profile        TEXT NOT NULL UNIQUE,
    user           TEXT NOT NULL REFERENCES users (name),
    token_hash     BLOB NOT NULL REFERENCES tokens (hash),
    state          TEXT NOT NULL CHECK (state IN ('pending', 'unconfirmed', 'active', 'revoked')),
    reason         TEXT NOT NULL,
    facts          TEXT NOT NULL, -- JSON
    verdict        TEXT NOT NULL, -- JSON
    challenge      BLOB NOT NULL,
    device_csr     BLOB NOT NULL,
    approval_csr   BLOB NOT NULL,
    device_chain   TEXT NOT NULL, -- JSON
    approval_chain TEXT NOT NULL, -- JSON
    device_key     TEXT NOT NULL UNIQUE,
    approval_key   TEXT NOT NULL UNIQUE,
    confirm        INTEGER NOT NULL,
    replaces       TEXT NOT NULL,
    code           TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    changed_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX devices_user ON devices (user);
CREATE INDEX devices_code ON devices (code) WHERE state = 'unconfirmed';

CREATE TABLE transactions (
    id          TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL REFERENCES clients (id),
    client_name TEXT NOT NULL,
    user        TEXT NOT NULL REFERENCES users (name),
    type        TEXT NOT NULL,
    method      TEXT NOT NULL,
    class       TEXT NOT NULL,
    number      TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied', 'expired', 'cancelled', 'failed')),
    reason      TEXT NOT NULL,
    tries       INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    decided_by  TEXT NOT NULL,
    decision    TEXT NOT NULL
) STRICT;
-- A device's list is looked up by its user's pending transactions, of which
-- there are few, however long the history.
CREATE INDEX transactions_pending ON transactions (user) WHERE status = 'pending';
CREATE INDEX transactions_overdue ON transactions (expires_at) WHERE status = 'pending';

CREATE TABLE requests (
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    device         TEXT NOT NULL REFERENCES devices (id),
    compact        TEXT NOT NULL,
    PRIMARY KEY (transaction_id, device)
) STRICT;

CREATE TABLE decisions (
    device         TEXT NOT NULL REFERENCES devices (id),
    hash           TEXT NOT NULL,
    transaction_id TEXT NOT NULL REFERENCES transactions (id),
    key            TEXT NOT NULL,
    compact        TEXT NOT NULL,
    prev           TEXT NOT NULL,
    status         INTEGER NOT NULL, -- of the HTTP answer
    answer         BLOB NOT NULL,
    receipt        TEXT NOT NULL,
    at             INTEGER NOT NULL,
    PRIMARY KEY (device, hash)
) STRICT;

CREATE TABLE events (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    user           TEXT NOT NULL,
    device         TEXT NOT NULL,
    client         TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    detail         TEXT NOT NULL
) STRICT;
