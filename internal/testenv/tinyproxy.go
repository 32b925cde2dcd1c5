package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Tinyproxy is a real HTTP proxy in a network.
type Tinyproxy struct {
	tb     testing.TB
	net    *NetNS
	config string
	log    string
	// Address is where it listens.
	Address string
	cmd     *exec.Cmd
}

// StartTinyproxy starts one on an address of the network, with more lines of
// configuration.
func StartTinyproxy(tb testing.TB, n *NetNS, address string, lines ...string) *Tinyproxy {
	tb.Helper()
	Need(tb, "tinyproxy")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	p := &Tinyproxy{tb: tb, net: n, config: filepath.Join(dir, "tinyproxy.conf"), log: filepath.Join(dir, "log"), Address: address}
	text := fmt.Sprintf("Port %s\nListen %s\nLogFile \"%s\"\nLogLevel Connect\nMaxClients 50\n%s\n", port, host, p.log, strings.Join(lines, "\n"))
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Stop)
	p.Start()
	return p
}

// Start starts it, again where it was stopped.
func (p *Tinyproxy) Start() {
	p.tb.Helper()
	p.cmd = p.net.Inside(exec.Command("tinyproxy", "-d", "-c", p.config))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	Eventually(p.tb, "the proxy to listen", func() bool {
		conn, err := p.net.Dial(p.tb.Context(), "tcp", p.Address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// Stop kills it with all its connections.
func (p *Tinyproxy) Stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// Log is what it has logged.
func (p *Tinyproxy) Log() string {
	p.tb.Helper()
	data, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) {
		p.tb.Fatal(err)
	}
	return string(data)
}
