package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/testenv"
	"countersign/systemd"
)

// manager is a service manager as far as a service sees one.
func manager(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		buf := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotifications(t *testing.T) {
	next := manager(t)
	for _, c := range []struct {
		send func() error
		want string
	}{
		{systemd.Ready, "READY=1"},
		{func() error { return systemd.Status("line one\nREADY=1\n  two") }, "STATUS=line one READY=1 two"},
	} {
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != c.want {
			t.Errorf("sent %q, want %q", got, c.want)
		}
	}
}

func TestNobodyToNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := errors.Join(systemd.Ready(), systemd.Status("x")); err != nil || systemd.Managed() {
		t.Errorf("got %v, managed %v", err, systemd.Managed())
	}
}

// TestWatchdogIsToldOnlyWhatIsTrue has a service that answers, and then does not.
func TestWatchdogIsToldOnlyWhatIsTrue(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan struct{})
	alive := func(ctx context.Context) error {
		select {
		case <-asked: // the second time it hangs, until it is given up
			<-ctx.Done()
			return ctx.Err()
		default:
			close(asked)
			return nil
		}
	}
	log := &lines{seen: make(chan string, 10)}
	done := make(chan error, 1)
	go func() { done <- systemd.Watch(ctx, slog.New(slog.NewTextHandler(log, nil)), alive) }()
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("sent %q", got)
	}
	if line := <-log.seen; !strings.Contains(line, "does not answer itself") {
		t.Errorf("logged %q", line)
	}
	if err := systemd.Ready(); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("a service that hangs sent %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTurnedAwayIsNotHanging: a service that refuses its own question, as it refuses
// any where too many come at once, is asked again before it is given up.
func TestTurnedAwayIsNotHanging(t *testing.T) {
	next := manager(t)
	t.Setenv("WATCHDOG_USEC", "60000000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	times := 0
	alive := func(context.Context) error {
		if times++; times < 3 {
			return errors.New("turned away")
		}
		return nil
	}
	log := &lines{seen: make(chan string, 10)}
	done := make(chan error, 1)
	go func() { done <- systemd.Watch(ctx, slog.New(slog.NewTextHandler(log, nil)), alive) }()
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("sent %q", got)
	}
	cancel()
	if err := <-done; err != nil || len(log.seen) > 0 || times != 3 {
		t.Errorf("asked %d times, said %d lines: %v", times, len(log.seen), err)
	}
}

type lines struct{ seen chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.seen <- string(p)
	return len(p), nil
}

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret"), 0o400); err != nil {
		t.Fatal(err)
	}
	if got, err := systemd.Credential("token"); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := systemd.Credential("other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := systemd.Credential("../token"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := systemd.Credential("token"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without credentials: %v", err)
	}
}

// TestFilesAreAsReviewed holds what the files say, without their comments, to a
// copy: who changes a directive changes both, and sees it twice. UPDATE=1 writes
// the copies.
func TestFilesAreAsReviewed(t *testing.T) {
	for _, part := range []string{systemd.Agent, systemd.Server, systemd.Session, systemd.User} {
		for _, f := range systemd.Files(part, "/usr/bin") {
			golden := filepath.Join("testdata", strings.ReplaceAll(f.Name, "/", "_")+".golden")
			got := uncommented(string(f.Data))
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s says\n%s\nand was reviewed as\n%s", f.Name, got, want)
			}
		}
	}
}

func uncommented(text string) string {
	text = regexp.MustCompile(`(?s)<!--.*?-->\n?`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)^(#.*)?\n`).ReplaceAllString(text, "")
}

// TestEverySettingHasItsReason wants a comment before each setting of a service,
// which two or three may share that belong together.
func TestEverySettingHasItsReason(t *testing.T) {
	for _, part := range []string{systemd.Agent, systemd.Server, systemd.Session, systemd.User} {
		for _, f := range systemd.Files(part, "/usr/bin") {
			if f.Dir == "" {
				t.Errorf("%s goes nowhere", f.Name)
			}
			_, service, ok := strings.Cut(string(f.Data), "\n[Service]\n")
			if !ok {
				continue
			}
			bare := 0
			for line := range strings.Lines(service) {
				switch {
				case strings.HasPrefix(line, "["):
					bare = -100
				case strings.HasPrefix(line, "#"):
					bare = 0
				case line != "\n":
					bare++
				}
				if bare > 3 {
					t.Errorf("%s: nothing says why %s", f.Name, line)
				}
			}
		}
	}
}

// TestNoServiceStaysAway: a program of Go's that panics, or that the watchdog ends,
// has the exit status of wrong usage to a person, which so must not keep it away.
func TestNoServiceStaysAway(t *testing.T) {
	for _, part := range []string{systemd.Agent, systemd.Server, systemd.Session, systemd.User} {
		for _, f := range systemd.Files(part, "/usr/bin") {
			text := string(f.Data)
			if !strings.Contains(text, "\nWatchdogSec=") {
				continue
			}
			only := fmt.Sprintf("\nRestart=always\nRestartPreventExitStatus=%d\n", systemd.ExitConfig)
			if !strings.Contains(text, only) || strings.Count(text, "RestartPrevent") != 1 {
				t.Errorf("%s is not always started again", f.Name)
			}
		}
	}
}

func TestProgramsElsewhere(t *testing.T) {
	for _, f := range systemd.Files(systemd.Agent, "/usr/local/bin/") {
		if strings.Contains(string(f.Data), "=/usr/bin/") {
			t.Errorf("%s still names /usr/bin", f.Name)
		}
		if f.Base() == "countersignd.service" && !strings.Contains(string(f.Data), "\nExecStart=/usr/local/bin/countersignd\n") {
			t.Errorf("%s starts something else", f.Name)
		}
	}
}

// TestProgramsInAnyHome: systemd finds the programs in a home of any name that it can.
func TestProgramsInAnyHome(t *testing.T) {
	testenv.Need(t, "systemd-analyze")
	bin := filepath.Join(t.TempDir(), `jo é 100%h $HOME; x`)
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	units, services := t.TempDir(), []string{}
	for _, name := range []string{"countersign", "countersignd"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range append(systemd.Files(systemd.User, bin), systemd.Files(systemd.Session, bin)...) {
		if err := os.WriteFile(filepath.Join(units, f.Base()), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, ".service") {
			services = append(services, filepath.Join(units, f.Base()))
		}
	}
	for _, service := range services {
		out, _ := exec.Command("systemd-analyze", "verify", "--man=no", service).CombinedOutput()
		if strings.Contains(string(out), "not executable") || strings.Contains(string(out), "ignoring: ") {
			t.Errorf("%s:\n%s", service, out)
		}
	}
}

// TestEmbeddedFilesAreAllOfAPart finds files that no part has.
func TestEmbeddedFilesAreAllOfAPart(t *testing.T) {
	var have []string
	for _, part := range []string{systemd.Agent, systemd.Server, systemd.Session, systemd.User} {
		for _, f := range systemd.Files(part, "/usr/bin") {
			have = append(have, f.Name)
		}
	}
	for _, dir := range []string{"units", "sysusers", "tmpfiles", "dbus", "udev"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !slices.Contains(have, filepath.ToSlash(path)) {
				t.Errorf("%s is of no part", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
