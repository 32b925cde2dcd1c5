package bench

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// bin is where "make bench" has built the programs.
const bin = "../../bin"

// program is the path of a built one.
func program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join(bin, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		tb.Skipf("make bench builds what this needs: %v", err)
	}
	return path
}

// ownCopy copies a program, so that no other process maps the same file: what
// several map is divided among them, and the machine of a user runs one.
func ownCopy(tb testing.TB, name string) string {
	tb.Helper()
	data := read(tb, program(tb, name))
	path := filepath.Join(tb.TempDir(), filepath.Base(name))
	if err := testenv.WriteProgram(path, data, 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}

// daemon is a program that runs until the benchmark ends it.
type daemon struct {
	tb    testing.TB
	cmd   *exec.Cmd
	said  *output
	ended chan struct{}
	// took is the time from its start to "ready".
	took time.Duration
}

// output keeps what a program says, and when it first said that it is ready.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	at    time.Time
	ready chan struct{} // closed then
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.at.IsZero() && slices.ContainsFunc(bytes.Split(o.text.Bytes(), []byte("\n")), func(line []byte) bool { return string(line) == "ready" }) {
		o.at = time.Now()
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a program and returns when it is ready.
func start(tb testing.TB, path string, env []string, args ...string) *daemon {
	tb.Helper()
	d := &daemon{tb: tb, cmd: exec.Command(path, args...), said: &output{ready: make(chan struct{})}, ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.said, d.said
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_ = d.cmd.Wait()
	}()
	tb.Cleanup(d.kill)
	select {
	case <-d.said.ready:
	case <-d.ended:
		tb.Fatalf("%s ended before it was ready: %s", path, d.said)
	case <-time.After(30 * time.Second):
		tb.Fatalf("%s is not ready: %s", path, d.said)
	}
	d.took = d.said.at.Sub(begin)
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// stop ends it as a service manager does.
func (d *daemon) stop() { d.end(syscall.SIGTERM) }

func (d *daemon) kill() { d.end(syscall.SIGKILL) }

func (d *daemon) end(s syscall.Signal) {
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.tb.Error(err)
	}
	<-d.ended
}

// countGoroutines ends it, and counts them in what the runtime says then: nothing
// is built into a program for it. The runtime's own are left out, of which there
// are more once memory was collected.
func (d *daemon) countGoroutines() (n int) {
	d.tb.Helper()
	d.end(syscall.SIGQUIT)
	for _, g := range regexp.MustCompile(`(?m)^goroutine [1-9]`).Split(d.said.String(), -1)[1:] {
		if stack, _, _ := strings.Cut(g, "\n\n"); !strings.Contains(stack, "\ncreated by runtime.") {
			n++
		}
	}
	if n == 0 {
		d.tb.Fatalf("%s has no goroutines: %s", d.cmd.Path, d.said)
	}
	return n
}
