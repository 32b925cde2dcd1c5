package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandsContainOnlyWhatTheyMay asks the go command what it would really
// link, through modules of others too.
func TestCommandsContainOnlyWhatTheyMay(t *testing.T) {
	sources(t) // open every file, so that a cached result is dropped when one changes
	for command, forbidden := range mustNotContain() {
		t.Run(filepath.Base(command), func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(root, command)); err != nil {
				t.Fatal(err)
			}
			for _, pkg := range linked(t, command) {
				for prefix, why := range forbidden {
					if within(pkg, prefix) {
						t.Errorf("%s contains %s: %s", command, pkg, why)
					}
				}
			}
		})
	}
}

// linked lists every package of a command, tests excluded.
func linked(t *testing.T, command string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+command)
	list.Dir = root
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	return strings.Fields(string(out))
}
