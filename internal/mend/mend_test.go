package mend_test

import (
	"os/exec"
	"strings"
	"testing"

	"countersign/internal/mend"
)

// FuzzWords: a shell makes of the line the very words again, and runs nothing that
// is in them.
func FuzzWords(f *testing.F) {
	for _, w := range []string{"", "/run/agent.sock", "it's", "a b", "$(touch x)", "`x`", "a;b&c|d", "~", "*", "\\", "'\\''", "-n", "a\nb", "#", "\"", "é\xff", "!x", "{a,b}"} {
		f.Add(w, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			return // no word holds that
		}
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+mend.Words(a, b)).CombinedOutput()
		if err != nil || string(out) != a+"\x00"+b+"\x00" {
			t.Fatalf("%q and %q become %q: %v", a, b, out, err)
		}
	})
}
