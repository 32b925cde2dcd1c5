package settings

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
)

// TestManualIsTheDefaults reads docs/countersignd.toml with every setting
// uncommented: it must name all settings, and show their defaults.
func TestManualIsTheDefaults(t *testing.T) {
	e := newEtc(t)
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "countersignd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	e.put(mainName, string(data))
	if got := e.mustRead(Options{}); len(got.Origins) != 0 {
		t.Errorf("the manual as it is sets %v", got.Origins)
	}
	// It is installed as it is, and the version before must take it after a
	// downgrade, which does not know all of these tables.
	if uncommented := regexp.MustCompile(`(?m)^[^#\n].*`).FindString(string(data)); uncommented != "" {
		t.Errorf("the manual is not all commented out: %s", uncommented)
	}
	e.put(mainName, regexp.MustCompile(`(?m)^#([a-z_]+ = |\[[a-z]+\]$)`).ReplaceAllString(string(data), "$1"))
	got := e.mustRead(Options{})
	if diff := cmp.Diff(Defaults(), got.Settings); diff != "" {
		t.Errorf("the manual shows other defaults (-want +got):\n%s", diff)
	}
	for _, s := range schemaOf(Settings{}).list {
		if _, ok := got.Origins[s.key]; !ok {
			t.Errorf("the manual does not explain %s", s.key)
		}
	}
	for line := range strings.Lines(string(data)) {
		if len(line) > 90 {
			t.Errorf("too long a line: %s", line)
		}
	}
}

// TestOldFilesAreTaken: a file in which version 0.4.0's manual was uncommented
// says the same as it did.
func TestOldFilesAreTaken(t *testing.T) {
	e := newEtc(t)
	data, err := os.ReadFile(filepath.Join("testdata", "v0.4.0.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	e.put(mainName, text)
	if l := e.mustRead(Options{}); l.Locks.ClassFloor > protocol.C0 || !l.Locks.AllowsSurface(protocol.SurfaceCLI) {
		t.Errorf("it locks something: %+v", l.Locks)
	}
	text = strings.Replace(text, "forbid_cli = false", "forbid_cli = true", 1)
	e.put(mainName, strings.Replace(text, `floor = ""`, `floor = "C2"`, 1))
	if l := e.mustRead(Options{}); l.Locks.ClassFloor != protocol.C2 || l.Locks.AllowsSurface(protocol.SurfaceCLI) || !l.Locks.AllowsSurface(protocol.SurfaceTTY) {
		t.Errorf("it does not lock what it did: %+v", l.Locks)
	}
}
