package main

import (
	"os"
	"path/filepath"
	"testing"

	"countersign/agent/settings"
)

// of is the configuration of some settings.
func of(s settings.Settings) config { return config{Loaded: settings.Loaded{Settings: s}} }

func TestOwnerPassword(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	check := func(what string, c config, want string) {
		t.Helper()
		got, err := c.ownerPassword()
		if err != nil || string(got.Reveal()) != want {
			t.Errorf("%s: %q, %v", what, got.Reveal(), err)
		}
	}
	check("nothing", config{}, "")
	check("a file", of(settings.Settings{TPMOwnerPasswordFile: file}), "of the file")
	if _, err := of(settings.Settings{TPMOwnerPasswordFile: file + " gone"}).ownerPassword(); err == nil {
		t.Error("a named file that is not there is no error")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	check("a unit without the credential", config{}, "")
	if err := os.WriteFile(filepath.Join(dir, "tpm-owner-password"), []byte("of the credential"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("a credential", config{}, "of the credential")
	check("a file and a credential", of(settings.Settings{TPMOwnerPasswordFile: file}), "of the file")
}

func TestChipsInTheirOrder(t *testing.T) {
	if _, _, err := (config{}).chips(); err == nil {
		t.Error("a service without any chip")
	}
	if _, _, err := of(settings.Settings{TPM: "no spec"}).chips(); err == nil {
		t.Error("a spec that is none is no error")
	}
	list, closeAll, err := of(settings.Defaults()).chips()
	if err != nil || len(list) != 1 || list[0].Name() != "tpm" {
		t.Fatalf("got %v, %v", list, err)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
}
