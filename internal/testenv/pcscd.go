package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Where Debian puts the daemon and the driver of the virtual readers.
const (
	pcscdPath   = "/usr/sbin/pcscd"
	vpcdLibrary = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
)

// PCSCD is a smart card daemon owned by one test. It has two readers that take
// virtual cards, listens on a socket of its own, needs no privilege, and never
// sees a card or token of the machine.
type PCSCD struct {
	tb      testing.TB
	dir     string
	readers [2]*Reader

	mu    sync.Mutex
	port  int // of the first reader; the second has the next one
	proc  *exec.Cmd
	ended chan struct{}
	log   *logTap
}

// StartPCSCD starts a daemon and ends it with the test. The cards, two at most,
// are in its readers from the beginning, which is many times faster than to
// insert one later. Programs reach the daemon with Env in their environment,
// this process after Use.
func StartPCSCD(tb testing.TB, cards ...Card) *PCSCD {
	tb.Helper()
	Need(tb, "/usr/sbin/pcscd", "/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
	p := &PCSCD{tb: tb, dir: tempDir(tb)}
	for slot := range p.readers {
		p.readers[slot] = &Reader{pcscd: p, slot: slot}
	}
	for slot, card := range cards {
		p.Reader(slot).card = card
	}
	p.Start()
	tb.Cleanup(p.Kill)
	return p
}

// Socket is where the daemon listens.
func (p *PCSCD) Socket() string { return filepath.Join(p.dir, "pcscd.comm") }

// Env is the environment variable that leads libpcsclite to this daemon.
func (p *PCSCD) Env() string { return "PCSCLITE_CSOCK_NAME=" + p.Socket() }

// Use leads this process to this daemon, and to no other, for the rest of the
// test. The environment belongs to the whole process, so a test that calls it
// cannot be parallel.
func (p *PCSCD) Use() {
	p.tb.Helper()
	// libpcsclite reads the variable once in the life of a process, so the
	// process keeps one name, and the name leads to the daemon of the day.
	name := filepath.Join(os.TempDir(), fmt.Sprintf("cs-pcscd-%d", os.Getpid()))
	_ = os.Remove(name)
	if err := os.Symlink(p.Socket(), name); err != nil {
		p.tb.Fatal(err)
	}
	p.tb.Cleanup(func() { _ = os.Remove(name) })
	p.tb.Setenv("PCSCLITE_CSOCK_NAME", name)
}

// Reader returns the first (0) or second (1) reader.
func (p *PCSCD) Reader(slot int) *Reader {
	p.tb.Helper()
	if slot < 0 || slot >= len(p.readers) {
		p.tb.Fatalf("there is no reader %d", slot)
	}
	return p.readers[slot]
}

// Pid is the process id of the running daemon.
func (p *PCSCD) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc.Process.Pid
}

// Log is what the daemon has written since it was last started.
func (p *PCSCD) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Start runs the daemon and returns when programs can use the cards that are in
// its readers. It must not be running.
func (p *PCSCD) Start() {
	p.tb.Helper()
	p.launchWithReaders()
	for _, r := range p.readers {
		if r.card != nil {
			r.settle()
		}
	}
}

// launchWithReaders tries again with other ports when somebody has taken one
// between our look and the daemon's.
func (p *PCSCD) launchWithReaders() {
	p.tb.Helper()
	for range 5 {
		p.launch()
		states, err := readerStates(p.Socket())
		if err == nil && len(states) == len(p.readers) {
			return
		}
		p.Kill()
	}
	p.tb.Fatalf("pcscd has no readers:\n%s", p.Log())
}

// launch starts the process the way systemd does, with the listening socket as
// its third file: like this it needs nothing below /run.
func (p *PCSCD) launch() {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.port = freePorts(p.tb)
	p.configure()
	socket := p.listen()
	defer socket.Close()
	tap, out, err := newLogTap(p.offer)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer out.Close()

	p.proc = exec.Command("/bin/sh", "-c",
		`LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --foreground --info --config "$1"`, pcscdPath, p.configDir())
	// Without a directory of USB drivers it leaves the machine's tokens alone.
	p.proc.Env = append(os.Environ(), "PCSCLITE_HP_DROPDIR="+filepath.Join(p.dir, "none"))
	p.proc.ExtraFiles = []*os.File{socket}
	p.proc.Stdout, p.proc.Stderr = out, out
	if err := p.proc.Start(); err != nil {
		p.tb.Fatalf("start pcscd: %v", err)
	}
	p.log, p.ended = tap, make(chan struct{})
	go func(proc *exec.Cmd, ended chan struct{}) {
		_ = proc.Wait()
		close(ended)
	}(p.proc, p.ended)
	go tap.follow()
}

// offer connects a card whose reader listens, and reports whether it did, or
// had none to connect.
func (p *PCSCD) offer() bool {
	none := true
	for _, r := range p.readers {
		if r.waiting() {
			if r.connect() {
				return true
			}
			none = false
		}
	}
	return none
}

func (p *PCSCD) configDir() string { return filepath.Join(p.dir, "reader.conf.d") }

func (p *PCSCD) configure() {
	p.tb.Helper()
	text := fmt.Appendf(nil, "FRIENDLYNAME %q\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n",
		readerName, p.port, vpcdLibrary, p.port)
	if err := os.MkdirAll(p.configDir(), 0o700); err != nil {
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.configDir(), "virtual"), text, 0o600); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *PCSCD) listen() *os.File {
	p.tb.Helper()
	_ = os.Remove(p.Socket())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.Socket(), Net: "unix"})
	if err != nil {
		p.tb.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	if err != nil {
		p.tb.Fatal(err)
	}
	return file
}

// Kill ends the daemon at once. The cards stay where they are, without power
// until it is started again. Killing it twice is no error.
func (p *PCSCD) Kill() {
	p.mu.Lock()
	if p.proc != nil {
		_ = p.proc.Process.Kill()
		<-p.ended
		p.proc = nil
	}
	p.mu.Unlock()
	for _, r := range p.readers {
		r.disconnect()
	}
}

// Restart is a crash and a start.
func (p *PCSCD) Restart() {
	p.tb.Helper()
	p.Kill()
	p.Start()
}

// freePorts finds two adjacent ports for the two readers. The driver listens on
// every address and cannot be told otherwise. The ports are below those that
// the kernel gives to outgoing connections.
func freePorts(tb testing.TB) int {
	tb.Helper()
	for range 1000 {
		port := 20000 + 2*rand.IntN(6000)
		if free(port) && free(port+1) {
			return port
		}
	}
	tb.Fatal("no two adjacent ports are free between 20000 and 32000")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
