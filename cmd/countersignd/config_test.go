package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFlagsWinOverTheFile(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	file := write(t, "state = \"/from/file\"\nsocket = \"/from/file.sock\"\n")
	got, err := flags{user: true, file: file, state: "/from/flag", piv: true}.load()
	if err != nil || got.State != "/from/flag" || got.Socket != "/from/file.sock" || !got.PIV {
		t.Errorf("got %+v, %v", got, err)
	}
	if from := got.Origins["state"].String(); from != "--state" {
		t.Errorf("the state directory is said to come from %s", from)
	}
}

func TestNamedFileMustExist(t *testing.T) {
	if _, err := (flags{file: filepath.Join(t.TempDir(), "none.toml")}).load(); err == nil {
		t.Error("a configuration file that is not there was ignored")
	}
}

// TestBrokenConfigurationCanBeAskedAbout: who starts a service that says what is
// wrong knows where to, and cannot open a chip by mistake.
func TestBrokenConfigurationCanBeAskedAbout(t *testing.T) {
	file := write(t, "tpm = \"device:/dev/tpm0\"\nforbid_clli = true\n")
	got, err := flags{user: true, file: file, state: "/from/flag", socket: "/from/flag.sock", tpm: "device:/dev/tpm0", piv: true}.load()
	if err == nil || !strings.Contains(err.Error(), "forbid_clli") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
	if got.State != "/from/flag" || got.Socket != "/from/flag.sock" {
		t.Errorf("got %+v", got.Settings)
	}
	if _, _, err := got.chips(); err == nil {
		t.Error("it opens chips")
	}
}
