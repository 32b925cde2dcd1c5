package docgen

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// Check has the reader of manual pages judge them, for the three things that make
// a page useless: a bad head, a macro that does not exist, and an empty section.
func Check(t *testing.T, files ...string) {
	t.Helper()
	testenv.Need(t, "mandoc")
	for _, file := range files {
		out, err := exec.CommandContext(t.Context(), "mandoc", "-T", "lint", "-W", "warning", file).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), ".SH NAME") {
			t.Errorf("%s has no NAME", file)
		}
	}
}
