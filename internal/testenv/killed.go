package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// RunKilled runs the test's own binary, with one variable more in its environment,
// in a process that is killed before the nth system call of a kind. It returns how
// often the process printed each word, and whether it was killed.
func RunKilled(tb testing.TB, env, call string, n int) (said map[string]int, killed bool) {
	tb.Helper()
	cmd := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), os.Args[0])
	cmd.Env = append(os.Environ(), env)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	said = map[string]int{}
	for _, word := range strings.Fields(out.String()) {
		said[word]++
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return said, false
	case failed && !exit.Exited(): // strace dies of the signal its child died of
		return said, true
	}
	tb.Fatalf("strace: %v: %s", err, errs.String())
	return nil, false
}
