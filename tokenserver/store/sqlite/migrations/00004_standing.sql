-- The order of each device's decisions, devices that are held off or quiet, and
-- relying parties that may not ask a device.

-- +goose Up
CREATE TABLE chain (
    device TEXT NOT NULL REFERENCES devices (id),
    prev   TEXT NOT NULL,
    hash   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (device, prev),
    UNIQUE (device, hash)
) STRICT;
INSERT OR IGNORE INTO chain (device, prev, hash, at) SELECT device, prev, hash, at FROM decisions ORDER BY rowid;

ALTER TABLE devices ADD COLUMN suspended TEXT NOT NULL DEFAULT ''; -- why
ALTER TABLE devices ADD COLUMN quiet_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN quiet_reason TEXT NOT NULL DEFAULT '';

CREATE TABLE blocks (
    device    TEXT NOT NULL REFERENCES devices (id),
    client_id TEXT NOT NULL REFERENCES clients (id),
    at        INTEGER NOT NULL,
    PRIMARY KEY (device, client_id)
) STRICT;
