package qr

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Subcommand is the only argument of the process that reads a picture.
const Subcommand = "qr-decode"

// timeLimit is how long reading a picture may take.
const timeLimit = 5 * time.Second

// maxAnswer is more than the longest answer.
const maxAnswer = 2 * maxLink

// answer is what the confined process says, once. Refused is one of the
// reasons.
type answer struct {
	Code    string `json:"code,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// reasons are the errors that cross the pipe, by the name they have on it.
func reasons() map[string]error {
	return map[string]error{
		"unreadable": ErrUnreadable, "too_large": ErrTooLarge, "none": ErrNone,
		"several": ErrSeveral, "confine": ErrConfine,
	}
}

// Serve confines this process, reads a picture and writes the answer. The
// program exits when it returns.
func Serve(in io.Reader, out io.Writer) error {
	code, err := serve(in)
	a := answer{Code: code}
	for name, reason := range reasons() {
		if errors.Is(err, reason) {
			a.Refused = name
		}
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func serve(in io.Reader) (string, error) {
	if err := confine(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfine, err)
	}
	picture, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	switch {
	case err != nil:
		return "", ErrUnreadable
	case len(picture) > MaxBytes:
		return "", ErrTooLarge
	}
	return Decode(picture)
}

// Read has a confined process read a picture, and returns the code or link in
// it. A file is handed over as it is: not one byte passes through the caller.
func Read(ctx context.Context, in io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	// The kernel ends the process with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := run(ctx, in)
	switch {
	case ctx.Err() != nil:
		return "", ErrTime
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrHelper, err)
	}
	return judge(out)
}

// judge believes an answer no further than its form.
func judge(out []byte) (string, error) {
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		return "", fmt.Errorf("%w: no answer", ErrHelper)
	}
	if err, ok := reasons()[a.Refused]; ok {
		return "", err
	}
	if !isCode(a.Code) {
		return "", fmt.Errorf("%w: not a code", ErrHelper)
	}
	return a.Code, nil
}

// run starts the process in a network of its own, which has nothing in it.
// Where users may make none, the list of system calls alone keeps it off the
// network.
func run(ctx context.Context, in io.Reader) ([]byte, error) {
	out := &bounded{left: maxAnswer}
	cmd := command(ctx, in, out, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC)
	if cmd.Start() != nil {
		cmd = command(ctx, in, out, 0)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
	}
	err := cmd.Wait()
	return out.b, err
}

func command(ctx context.Context, in io.Reader, out io.Writer, namespaces uintptr) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", Subcommand)
	cmd.Dir = "/"
	cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=1"}
	cmd.Stdin, cmd.Stdout = in, out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: namespaces}
	return cmd
}

// bounded keeps what is written to it, up to a limit.
type bounded struct {
	b    []byte
	left int
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, io.ErrShortBuffer
	}
	w.b, w.left = append(w.b, p...), w.left-len(p)
	return len(p), nil
}

// picture is one with the code of Check in it.
//
//go:embed check.png
var picture []byte

// Check has a confined process read a picture of our own, and says why it
// cannot.
func Check(ctx context.Context) error {
	code, err := Read(ctx, bytes.NewReader(picture))
	if err == nil && code != strings.Repeat("A", minCode) {
		err = fmt.Errorf("%w: it read another code", ErrHelper)
	}
	return err
}
