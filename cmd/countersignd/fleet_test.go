package main

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/agent/settings"
)

func TestTokenFileMustBeNobodyElses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	f := settings.Fleet{EnrollmentTokenFile: file}
	if v, err := enrollmentToken(f); err != nil || !v.Empty() {
		t.Errorf("no file: %v, %v", v.Empty(), err)
	}
	if err := os.WriteFile(file, []byte("  sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := enrollmentToken(f); err != nil || string(v.Reveal()) != "sesame" {
		t.Errorf("read as %q, %v", v.Reveal(), err)
	}
	for _, mode := range []os.FileMode{0o644, 0o640, 0o602} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if v, err := enrollmentToken(f); err == nil || !v.Empty() {
			t.Errorf("mode %o: a token, %v", mode, err)
		}
	}
}

func TestTokenOfACredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if v, err := enrollmentToken(settings.Fleet{}); err != nil || !v.Empty() {
		t.Errorf("no credential: %v, %v", v.Empty(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, tokenName), []byte("sesame"), 0o400); err != nil {
		t.Fatal(err)
	}
	if v, err := enrollmentToken(settings.Fleet{}); err != nil || string(v.Reveal()) != "sesame" {
		t.Errorf("read as %q, %v", v.Reveal(), err)
	}
}

// TestPolicyName: a policy that locks nothing has no name, and another has another.
func TestPolicyName(t *testing.T) {
	none := settings.Defaults().Policy
	strict := none
	strict.ClassFloor = "C2"
	if policyName(none) != "" || len(policyName(strict)) != 71 {
		t.Errorf("named %q and %q", policyName(none), policyName(strict))
	}
	stricter := strict
	stricter.MuteMax = "0s"
	if policyName(stricter) == policyName(strict) {
		t.Error("two policies have one name")
	}
}
