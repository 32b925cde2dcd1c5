-- How many machines are enrolling with one token is asked at each that begins.

-- +goose Up
CREATE INDEX machine_enrollments_token ON machine_enrollments (token) WHERE machine = '';
