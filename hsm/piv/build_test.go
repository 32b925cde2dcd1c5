//go:build cgo

package piv_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"countersign/internal/testenv"
)

// The same package without cgo: it builds, its test passes, and the program
// starts where there is no PC/SC library, since it is linked to none.
func TestBuildsWithoutCgo(t *testing.T) {
	testenv.Need(t, "go")
	program := filepath.Join(t.TempDir(), "piv.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build without cgo: %v\n%s", err, out)
	}
	binary, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if libraries, err := binary.ImportedLibraries(); err == nil && len(libraries) > 0 {
		t.Errorf("the program needs %v", libraries)
	}
	out, err := exec.CommandContext(t.Context(), program, "-test.run", "TestWithoutCgo", "-test.v").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
