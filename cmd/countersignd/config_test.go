package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestManualIsTheDefaults reads docs/countersignd.toml with every setting
// uncommented: it must name all settings, and show their defaults.
func TestManualIsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "countersignd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(string(data), "$1")
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := flags{file: file}.config()
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults(); got != want {
		t.Errorf("the manual shows %+v, the defaults are %+v", got, want)
	}
	for _, name := range []string{"state", "socket", "tpm", "piv", "tpm_owner_password_file", "forbid_cli", "fingerprint", "custom", "plugin", "plugin_timeout"} {
		if !strings.Contains(text, "\n"+name+" = ") {
			t.Errorf("the manual does not explain %s", name)
		}
	}
}

func TestUnknownSettingIsRefusedWithItsLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("tpm = \"device:/dev/tpm0\"\nforbid_clli = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := flags{file: file}.config()
	if err == nil || !strings.Contains(err.Error(), "forbid_clli") {
		t.Errorf("got %v, want an error that shows the line", err)
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte("state = \"/from/file\"\nsocket = \"/from/file.sock\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := flags{file: file, state: "/from/flag"}.config()
	if err != nil || got.State != "/from/flag" || got.Socket != "/from/file.sock" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNamedFileMustExist(t *testing.T) {
	if _, err := (flags{file: filepath.Join(t.TempDir(), "none.toml")}).config(); err == nil {
		t.Error("a configuration file that is not there was ignored")
	}
}
