-- Machines that enroll without a person, the tokens and endorsement keys that let
-- them in, and which machine an event is about.

-- +goose Up
CREATE TABLE machine_tokens (
    id         TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    note       TEXT NOT NULL,
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL CHECK (used <= uses),
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT;

CREATE TABLE machine_eks (
    ek         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE machines (
    id          TEXT PRIMARY KEY,
    ek          TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    reason      TEXT NOT NULL,
    facts       TEXT NOT NULL, -- JSON
    endorsement TEXT NOT NULL CHECK (endorsement IN ('certificate', 'registered', 'none')),
    chip        TEXT NOT NULL, -- JSON
    key         TEXT NOT NULL UNIQUE,
    chain       TEXT NOT NULL, -- JSON
    token       TEXT NOT NULL, -- id, or ''
    created_at  INTEGER NOT NULL,
    enrolled_at INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    reported_at INTEGER NOT NULL,
    report      TEXT NOT NULL, -- JSON, "null" until there is one
    trust_seq   INTEGER NOT NULL,
    trust_at    INTEGER NOT NULL
) STRICT;

-- A proven enrollment stays: it is what anybody can judge the machine by again,
-- and no key comes back.
CREATE TABLE machine_enrollments (
    id          TEXT PRIMARY KEY,
    key         TEXT NOT NULL UNIQUE,
    ek          TEXT NOT NULL,
    token       TEXT NOT NULL,
    start       TEXT NOT NULL, -- JSON, without the token
    endorsement TEXT NOT NULL,
    challenge   BLOB NOT NULL,
    credential  TEXT NOT NULL, -- JSON
    secret      BLOB NOT NULL,
    machine     TEXT NOT NULL, -- '' until it is proven
    proof       TEXT NOT NULL, -- JSON
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX machine_enrollments_open ON machine_enrollments (created_at) WHERE machine = '';
CREATE INDEX machine_enrollments_ek ON machine_enrollments (ek) WHERE machine = '';

ALTER TABLE events ADD COLUMN machine TEXT NOT NULL DEFAULT '';
