package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"countersign/tokenserver/enroll"
)

// TestManualIsTheDefaults reads docs/countersign-server.toml, which packages
// install, as it is and with every setting in effect: both are the defaults.
func TestManualIsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../../docs/countersign-server.toml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := readConfig("")
	if err != nil {
		t.Fatal(err)
	}
	// The version before must take it after a downgrade, and does not know all of
	// these tables.
	if line := regexp.MustCompile(`(?m)^[^#\n].*`).Find(text); line != nil {
		t.Errorf("not all is commented out: %s", line)
	}
	commented := regexp.MustCompile(`(?m)^#([a-z_]+ = |\[[a-z]+\]$)`)
	for name, text := range map[string][]byte{"as installed": text, "in effect": commented.ReplaceAll(text, []byte("$1"))} {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readConfig(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a, err := got.lifetime(); err != nil || a != enroll.DefaultLifetime {
			t.Errorf("%s: certificates live for %v, %v", name, a, err)
		}
		got.Enrollment.CertificateLifetime = want.Enrollment.CertificateLifetime    // 8760h is 8760h0m0s
		got.Attestation.Require = append([]string(nil), got.Attestation.Require...) // [] is nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: it is\n%+v, and the defaults are\n%+v", name, got, want)
		}
	}
}
