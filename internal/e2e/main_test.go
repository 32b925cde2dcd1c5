// Package e2e drives the three real binaries, as their users do: through
// their commands, their sockets and their HTTP. The TPM is a software TPM,
// which is a real TPM 2.0 behind a socket. The binaries are built with the
// race detector, so that a data race in them fails the test that met it.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// bin is where the binaries under test are.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "countersign-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	// A program with the race detector sleeps for a second as it ends, to hear
	// of races in what is still running; ours have ended their goroutines.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, args := range [][]string{
		{"-race", "-o", dir + "/", "countersign/cmd/..."},
		{"-o", filepath.Join(dir, "plain") + "/", "countersign/cmd/countersignd"},
	} {
		build := exec.Command("go", append([]string{"build"}, args...)...)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building the binaries:", err)
			return 1
		}
	}
	if err := crowd(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// crowd has more tests run at once than there are processors, unless somebody said how
// many: most of them wait for a time to pass, or for a chip.
func crowd() error {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}
