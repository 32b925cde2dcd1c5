package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"countersign/tokenserver/store"
)

// TestMigrationKeepsDevices opens a database of before there was attestation.
func TestMigrationKeepsDevices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`INSERT INTO users VALUES ('alice', 0, 1)`,
		`INSERT INTO tokens VALUES (x'01', 'alice', 2, 0, '', 'e', 1)`,
		`INSERT INTO types VALUES ('login', 'push', 'C1', 60, 6, 0, 'null')`,
		`INSERT INTO devices VALUES ('d', 'e', 'p', 'alice', x'01', 'active', '', '{"name":"laptop"}',
			'{"format":"none","attested":false,"pin_bound":false,"touch_bound":false,"isolation":"user","chip":{"vendor":"v"}}',
			x'02', x'03', x'04', '[]', '[]', 'dk', 'ak', 0, '', '', 1, 1)`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err = open(t, path).View(t.Context(), func(tx store.Tx) error {
		d, err := store.One(tx.Devices(store.DeviceFilter{ID: "d"}))
		if err == nil && (d.DeviceVerdict != d.Verdict || d.DeviceVerdict.Format != "none" || d.DeviceVerdict.Chip.Vendor != "v") {
			t.Errorf("the device is %+v", d)
		}
		if err != nil {
			return err
		}
		typ, err := tx.Type("login")
		if len(typ.MinFirmware)+len(typ.DenyVendors) > 0 {
			t.Errorf("the type is %+v", typ)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
