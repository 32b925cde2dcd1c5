package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
)

// TestTouchIsAskedFor, by the command that approves and by the session helper,
// and only for a touch that does not come by itself.
func TestTouchIsAskedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := factoryDevice(t, s)
	card := d.insert(s, virtualpiv.WithFirmware("5.7.1"))
	d.start()
	d.enrollToken(s)
	finger := make(chan bool)
	card.SetTouch(func(ctx context.Context) bool {
		select {
		case touched := <-finger:
			return touched
		case <-ctx.Done():
			return false
		}
	})
	p := newPortal(t, s)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	helper := onTerminal(t, d)
	command := d.approveOnTerminal(t, tx)
	command.Answer("PIN: ", pin)
	for _, term := range []*testenv.Screen{command, helper} {
		testenv.Eventually(t, "the touch to be asked for", func() bool { return strings.Contains(term.Text(), "Touch your token") })
	}
	finger <- true
	p.ends(tx, "approved")
}

// approveOnTerminal approves a request on a terminal of its own.
func (d *device) approveOnTerminal(t *testing.T, tx transaction) *testenv.Screen {
	t.Helper()
	term, pts := testenv.OpenScreen(t)
	cmd := exec.Command(filepath.Join(bin, "countersign"), "approve", tx.ID, "--number", tx.Number, "--socket", d.socket())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = pts.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return term
}
