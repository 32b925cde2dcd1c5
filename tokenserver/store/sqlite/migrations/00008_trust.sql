-- Which statement on the server's names and keys each device keeps. What is not
-- there by default is 0: the device knows what it learned at its enrollment.

-- +goose Up
ALTER TABLE devices ADD COLUMN trust_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN trust_at INTEGER NOT NULL DEFAULT 0;
