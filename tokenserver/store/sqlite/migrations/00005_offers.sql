-- Transactions without a user, until a device redeems their code.

-- +goose Up
CREATE TABLE offers (
    id          TEXT PRIMARY KEY,
    client_id   TEXT NOT NULL REFERENCES clients (id),
    client_name TEXT NOT NULL,
    type        TEXT NOT NULL,
    method      TEXT NOT NULL,
    class       TEXT NOT NULL,
    number      TEXT NOT NULL,
    code        BLOB NOT NULL UNIQUE,
    content     TEXT NOT NULL, -- JSON
    status      TEXT NOT NULL CHECK (status IN ('pending', 'expired', 'cancelled')),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    device      TEXT NOT NULL
) STRICT;
CREATE INDEX offers_overdue ON offers (expires_at) WHERE status = 'pending' AND device = '';
