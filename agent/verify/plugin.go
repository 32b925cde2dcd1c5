package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"countersign/internal/owned"
)

const (
	// maxAnswer bounds what a plug-in may write to standard output, maxTrouble
	// what of its standard error goes to the log.
	maxAnswer  = 4 << 10
	maxTrouble = 512
	// drainTime is how long the pipes of a plug-in that ended are read, where
	// something it started holds them open.
	drainTime = time.Second
)

// Plugin verifies a person by a program of the administrator's. docs/plugin.md
// is its contract.
//
// The program runs as the service does. It is looked at before each run, and
// what was looked at is what runs. It is told nothing secret.
type Plugin struct {
	path   string
	limit  time.Duration
	owners owned.Owners
}

// NewPlugin returns the Plugin in the file path, which must be absolute and
// without links. The file and the directories above it must belong to root, or
// where own is true to the user the service runs as, and be writable by nobody
// else. A run that takes longer than limit is ended, and verifies nobody.
func NewPlugin(path string, limit time.Duration, own bool) (*Plugin, error) {
	p := &Plugin{path: path, limit: limit, owners: owned.Root()}
	if own {
		p.owners = owned.RootOrService()
	}
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	return p, f.Close()
}

// Available implements Verifier.
func (p *Plugin) Available(context.Context, Subject) error {
	f, err := p.open()
	if err != nil {
		return untrusted(err)
	}
	return f.Close()
}

func untrusted(err error) *Unavailable {
	return &Unavailable{Text: "the plug-in cannot be trusted: " + err.Error(), Cure: "correct what docs/plugin.md says of the file", Err: err}
}

// Verify implements Verifier.
func (p *Plugin) Verify(ctx context.Context, s Subject, r Request, hint func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, ErrTimeout)
	defer cancel()
	f, err := p.open()
	if err != nil {
		return untrusted(err)
	}
	defer f.Close()
	q := question{Version: pluginVersion, UID: s.UID, User: s.User, Client: r.Client, Class: r.Class, Request: r.Hash, Nonce: rand.Text()}
	hint(HintElsewhere)
	out, err := p.run(ctx, f, q.line())
	if err != nil {
		return cause(ctx, err)
	}
	a, err := parseAnswer(out, q.Nonce)
	if err != nil {
		return &Unavailable{Text: "the plug-in answered what nobody understands", Err: err}
	}
	if a.hint != "" {
		hint(a.hint)
	}
	if !a.verified {
		return ErrNoMatch
	}
	return nil
}

// run runs the very file that was looked at, with input on its standard input,
// and returns what it wrote. Whatever it started in its process group ends with
// it.
func (p *Plugin) run(ctx context.Context, f *os.File, input []byte) ([]byte, error) {
	out, trouble := &bounded{max: maxAnswer}, &bounded{max: maxTrouble}
	cmd := exec.Command("/proc/self/fd/3") //nolint:noctx // ended with its whole group below
	cmd.Args = []string{p.path}
	cmd.ExtraFiles = []*os.File{f}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, trouble
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = drainTime
	if err := cmd.Start(); err != nil {
		return nil, &Unavailable{Text: "the plug-in does not start", Err: err}
	}
	untilEnded(ctx, cmd.Process.Pid)
	err := cmd.Wait()
	switch {
	case err == nil && !out.full:
		return out.kept, nil
	case out.full:
		err = errors.New("it wrote too much")
	}
	return nil, &Unavailable{Text: "the plug-in failed", Err: fmt.Errorf("%w; it said: %q", err, trouble.kept)}
}

// untilEnded waits for a process to end, or ends it with ctx, and then ends
// what is left of its group. The process is not reaped before that, so that its
// id cannot be another's by then.
func untilEnded(ctx context.Context, pid int) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	<-ended
}

// bounded keeps the first bytes written to it, and remembers that there were
// more. It takes all of them, so that a writer is not held up.
type bounded struct {
	kept []byte
	max  int
	full bool
}

func (b *bounded) Write(data []byte) (int, error) {
	keep := min(len(data), b.max-len(b.kept))
	b.full = b.full || keep < len(data)
	b.kept = append(b.kept, data[:keep]...)
	return len(data), nil
}
