-- Device keys are renewed too, so that each role may have a renewal under way;
-- and which device came in which one's place.

-- +goose Up
ALTER TABLE renewals ADD COLUMN role TEXT NOT NULL DEFAULT 'approval';
DROP INDEX renewals_open;
CREATE UNIQUE INDEX renewals_open ON renewals (device, role) WHERE state IN ('pending', 'issued');

ALTER TABLE devices ADD COLUMN succeeds TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN successor TEXT NOT NULL DEFAULT '';
