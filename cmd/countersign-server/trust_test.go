package main

import (
	"database/sql"
	"io"
	"path/filepath"
	"testing"

	"countersign/tokenserver/pki"
)

// TestNoChangeOfTrustUnrecorded: where the audit trail takes nothing, names and keys
// stay as they are.
func TestNoChangeOfTrustUnrecorded(t *testing.T) {
	dir := t.TempDir()
	s, err := openState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pki.Present("https://server.example", "https://server.example:8443", false); err != nil {
		t.Fatal(err)
	}
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, fileDatabase))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := &cli{data: dir, out: io.Discard}
	none := func(*state) error { return nil }
	if err := c.changeTrust(t.Context(), "issuer_key.rotated", "", none, (*pki.Authority).RotateIssuer); err == nil {
		t.Error("it is changed without a record")
	}
	after, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.IssuerKeysNow()) != 1 || after.Seq() != 1 {
		t.Errorf("without a record statement %d is published, with the keys %+v", after.Seq(), after.IssuerKeysNow())
	}
}
