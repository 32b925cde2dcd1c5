-- New approval keys in the place of old ones. Rows stay for good: no key comes
-- back, and old decisions are proved with old_chain.

-- +goose Up
CREATE TABLE renewals (
    id         TEXT PRIMARY KEY,
    device     TEXT NOT NULL REFERENCES devices (id),
    state      TEXT NOT NULL CHECK (state IN ('pending', 'issued', 'done', 'dropped')),
    key        TEXT NOT NULL UNIQUE,
    old_key    TEXT NOT NULL,
    old_chain  TEXT NOT NULL, -- JSON
    request    TEXT NOT NULL, -- JSON
    challenge  BLOB NOT NULL,
    credential TEXT NOT NULL, -- JSON
    secret     BLOB,
    verdict    TEXT NOT NULL, -- JSON, like the next two nothing until it is issued
    proof      TEXT NOT NULL,
    chain      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX renewals_open ON renewals (device) WHERE state IN ('pending', 'issued');
CREATE INDEX renewals_device ON renewals (device);
CREATE INDEX renewals_old_key ON renewals (old_key);
