package testenv

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// SWTPM is a TPM 2.0 made of software, behind a unix socket, owned by one test.
// It serves one connection at a time: a second client waits until the first
// one closes.
type SWTPM struct {
	tb     testing.TB
	dir    string // holds state, socket and log; short, because sun_path is
	mu     sync.Mutex
	proc   *exec.Cmd
	ended  chan struct{}
	stderr *bytes.Buffer
}

// StartSWTPM starts a TPM that has never been used, and ends it with the test.
func StartSWTPM(tb testing.TB) *SWTPM {
	tb.Helper()
	Need(tb, "swtpm")
	return startSWTPM(tb, tempDir(tb))
}

// StartSWTPMFrom starts a TPM on a copy of the state directory of another one,
// for example of one that swtpm_setup has manufactured. The copy is a clone in
// every respect, counters and seeds included.
func StartSWTPMFrom(tb testing.TB, stateDir string) *SWTPM {
	tb.Helper()
	Need(tb, "swtpm")
	dir := tempDir(tb)
	if err := os.CopyFS(filepath.Join(dir, "state"), os.DirFS(stateDir)); err != nil {
		tb.Fatalf("copy TPM state: %v", err)
	}
	return startSWTPM(tb, dir)
}

func startSWTPM(tb testing.TB, dir string) *SWTPM {
	tb.Helper()
	s := &SWTPM{tb: tb, dir: dir}
	if err := os.MkdirAll(s.StateDir(), 0o700); err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(s.Kill)
	return s
}

// tempDir makes a directory whose name stays short enough for socket paths,
// which tb.TempDir does not promise.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "cs-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Spec is the TPM as the service's configuration names it.
func (s *SWTPM) Spec() string { return "swtpm:" + s.Socket() }

// Socket is the absolute path of the TPM's command socket.
func (s *SWTPM) Socket() string { return filepath.Join(s.dir, "tpm.sock") }

// StateDir is where the TPM keeps its seeds, keys and counters.
func (s *SWTPM) StateDir() string { return filepath.Join(s.dir, "state") }

// Pid is the process id of the running TPM.
func (s *SWTPM) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.Process.Pid
}

// Start runs the TPM on its state and returns when it answers. It must not be
// running.
func (s *SWTPM) Start() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = os.Remove(s.Socket())
	_ = os.Remove(s.Socket() + ".ctrl")
	s.stderr = &bytes.Buffer{}
	s.proc = exec.Command("swtpm", "socket", "--tpm2",
		"--tpmstate", "dir="+s.StateDir(),
		"--server", "type=unixio,path="+s.Socket(),
		"--ctrl", "type=unixio,path="+s.Socket()+".ctrl",
		"--flags", "not-need-init,startup-clear")
	s.proc.Stderr = s.stderr
	if err := s.proc.Start(); err != nil {
		s.tb.Fatalf("start swtpm: %v", err)
	}
	s.ended = make(chan struct{})
	go func(proc *exec.Cmd, ended chan struct{}) {
		_ = proc.Wait()
		close(ended)
	}(s.proc, s.ended)
	Eventually(s.tb, "swtpm listens", s.listening)
}

// listening reports whether the socket accepts, and fails the test at once when
// the process has died instead.
func (s *SWTPM) listening() bool {
	select {
	case <-s.ended:
		s.tb.Fatalf("swtpm ended at its start: %s", s.stderr)
	default:
	}
	c, err := net.Dial("unix", s.Socket())
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// Kill ends the TPM as a power cut does: at once, without TPM2_Shutdown.
// Killing it twice is no error.
func (s *SWTPM) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	_ = s.proc.Process.Kill()
	<-s.ended
	s.proc = nil
}

// Restart is a power cut followed by a start on the same state.
func (s *SWTPM) Restart() {
	s.tb.Helper()
	s.Kill()
	s.Start()
}
