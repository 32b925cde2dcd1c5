package main

import (
	"bytes"
	"database/sql"
	"io"
	"path/filepath"
	"strings"
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

// TestForceIsOnRecord: that devices were cut off was somebody's wish, and the audit
// trail says so.
func TestForceIsOnRecord(t *testing.T) {
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
	var out, said bytes.Buffer
	for _, line := range []string{
		"issuer-key rotate", "issuer-key retire --force", "issuer-key rotate", "issuer-key retire",
		"tls-root prepare", "tls-root switch", "tls-root retire --force", "device-ca rotate", "device-ca retire --force",
		"trust move --issuer https://new.example", "trust drop https://server.example --force", "events",
	} {
		out.Reset()
		c := &cli{out: &out, errOut: &said}
		if status := c.run(t.Context(), append(strings.Fields(line), "--data", dir, "--json")); status != exitDone {
			t.Fatalf("%s: %d, %s", line, status, out.String())
		}
	}
	for kind, times := range map[string]int{"issuer_key.retired": 2, "tls_root.retired": 1, "device_ca.retired": 1, "trust.dropped": 1} {
		forced := 0
		for _, event := range strings.Split(out.String(), "}") {
			if strings.Contains(event, kind) && strings.Contains(event, "forced") {
				forced++
			}
		}
		if strings.Count(out.String(), kind) != times || forced != 1 {
			t.Errorf("%s is there as forced %d times: %s", kind, forced, out.String())
		}
	}
}
