package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/testenv"
)

// process is one of our daemons under test.
type process struct {
	tb    testing.TB
	name  string
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
	log   *testenv.Log
}

// start runs a binary until the test ends. A race found in it, or a panic,
// fails the test.
func start(tb testing.TB, log *testenv.Log, name string, args ...string) *process {
	tb.Helper()
	return startCommand(tb, log, exec.Command(filepath.Join(bin, name), args...))
}

func startCommand(tb testing.TB, log *testenv.Log, cmd *exec.Cmd) *process {
	tb.Helper()
	p := &process{tb: tb, name: filepath.Base(cmd.Path), cmd: cmd, log: log, lines: make(chan string, 16), ended: make(chan struct{})}
	p.cmd.Stderr = log
	if p.cmd.SysProcAttr == nil {
		p.cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			p.lines <- sc.Text()
		}
	}()
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	tb.Cleanup(p.kill)
	return p
}

// expect reads lines until one begins with prefix, and returns its rest.
func (p *process) expect(prefix string) string {
	p.tb.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.tb.Fatalf("%s ended before it printed %q:\n%s", p.name, prefix, p.log)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return strings.TrimSpace(rest)
			}
		case <-timeout:
			p.tb.Fatalf("%s did not print %q:\n%s", p.name, prefix, p.log)
		}
	}
}

// stop ends the process as an administrator does, and demands status 0.
func (p *process) stop() {
	p.tb.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.tb.Fatalf("%s did not end on SIGTERM:\n%s", p.name, p.log)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.tb.Errorf("%s ended with %d on SIGTERM:\n%s", p.name, code, p.log)
	}
}

// kill ends it as a power cut does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	if s := p.log.String(); strings.Contains(s, "DATA RACE") || strings.Contains(s, "panic:") {
		p.tb.Errorf("%s:\n%s", p.name, s)
	}
}

// answer is what a command of ours said.
type answer struct {
	status         int
	stdout, stderr string
	json           map[string]any
}

// command runs a binary to its end.
func command(tb testing.TB, stdin, name string, args ...string) answer {
	tb.Helper()
	return runCommand(tb, stdin, exec.Command(filepath.Join(bin, name), args...))
}

// commandAs runs the user's command as another user, from a copy that this
// user may run.
func commandAs(tb testing.TB, uid uint32, args ...string) answer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "countersign")
	data, err := os.ReadFile(filepath.Join(bin, "countersign"))
	if err = errors.Join(err, os.Chmod(dir, 0o755), testenv.WriteProgram(program, data, 0o755)); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return runCommand(tb, "", cmd)
}

func runCommand(tb testing.TB, stdin string, cmd *exec.Cmd) answer {
	tb.Helper()
	cmd.Stdin = strings.NewReader(stdin)
	if cmd.Env == nil {
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR=") // never the socket of who runs the tests
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		tb.Fatal(err)
	}
	a := answer{status: cmd.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String()}
	_ = json.Unmarshal(out.Bytes(), &a.json)
	return a
}

// ok demands success.
func (a answer) ok(tb testing.TB) answer {
	tb.Helper()
	return a.want(tb, 0)
}

// want demands an exit status.
func (a answer) want(tb testing.TB, status int) answer {
	tb.Helper()
	if a.status != status {
		tb.Fatalf("exit status %d, want %d\nstdout: %s\nstderr: %s", a.status, status, a.stdout, a.stderr)
	}
	return a
}

// code is the error code of a failed call with --json.
func (a answer) code() string {
	e, _ := a.json["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

// text is a string member of the JSON answer.
func (a answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}
