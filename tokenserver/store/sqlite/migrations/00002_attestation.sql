-- What each key of a device was found to be, what it was found by, and rules
-- about chips. Before this every verdict was "none", and the same for both keys.

-- +goose Up
ALTER TABLE devices ADD COLUMN device_verdict TEXT NOT NULL DEFAULT '{}'; -- JSON
UPDATE devices SET device_verdict = verdict;

ALTER TABLE types ADD COLUMN min_firmware TEXT NOT NULL DEFAULT 'null'; -- JSON
ALTER TABLE types ADD COLUMN deny_vendors TEXT NOT NULL DEFAULT 'null'; -- JSON

CREATE TABLE attestations (
    device     TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    start      TEXT NOT NULL, -- JSON
    credential TEXT NOT NULL, -- JSON
    secret     BLOB,
    proof      TEXT NOT NULL -- JSON, "null" until the device is let in
) STRICT;
