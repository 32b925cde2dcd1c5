package e2e

import (
	"testing"

	"countersign/internal/testenv"
)

// TestWrongNumberAcrossARestart: the word that the number was wrong comes to a
// service that was started anew, and the person may still type the right one.
func TestWrongNumberAcrossARestart(t *testing.T) {
	t.Parallel()
	s := startServerOn(t, quietAddress(t), quietAddress(t))
	d := startDevice(t)
	d.enroll(s.link())
	p := newPortal(t, s)
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	s.proc.kill()
	d.cli("", "approve", tx.ID, "--number", wrong(tx.Number)).want(t, 4)
	d.proc.kill()
	d.start()
	s.again()
	testenv.Eventually(t, "the request to wait again", func() bool { return d.lists(tx.ID) })
	d.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
	p.ends(tx, "approved")
}
