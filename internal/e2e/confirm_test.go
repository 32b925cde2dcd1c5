package e2e

import (
	"testing"

	"countersign/internal/testenv"
)

// TestConfirmedEnrollment: a link with --confirm makes a profile that is of no
// use until the code that the device shows is confirmed at the server.
func TestConfirmedEnrollment(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := startDevice(t)
	a := d.cli(pin+"\n", "enroll", s.link("--confirm"), "--pin-stdin").ok(t)
	profile, code := a.text("profile"), a.text("confirm_code")
	if len(code) != 6 {
		t.Fatalf("enroll said %s, without a code of six digits", a.stdout)
	}
	d.cli("", "enrolled", profile).want(t, 3)
	if got := newPortal(t, s).call("POST", "/v1/transactions", "", body("user", "alice")); got.http != 422 {
		t.Errorf("a transaction for an unconfirmed device: %d %s", got.http, got.raw)
	}
	s.command("", "enrollment", "confirm", wrong(code)).want(t, 3)
	s.command("", "enrollment", "confirm", code).ok(t)
	d.cli("", "enrolled", profile, "--check").ok(t) // the server knows at once
	testenv.Eventually(t, "the profile to become active", func() bool { return d.cli("", "enrolled", profile).status == 0 })
	p := newPortal(t, s)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
}

// TestReenrolledOnTheSameComputer: the profile that the server has ended does
// not stand in the way of the one that took its place.
func TestReenrolledOnTheSameComputer(t *testing.T) {
	s, d, _ := world(t)
	old := d.profile()
	d.enroll(s.link("--replace", old.Device))
	testenv.Eventually(t, "the old profile to end", func() bool { return d.cli("", "enrolled", old.ID).status == 3 })
	d.cli("", "enrolled", "alice@127.0.0.1").ok(t)
}

// TestReplacedDevice: the new device is active and the old one knows that it
// is not.
func TestReplacedDevice(t *testing.T) {
	s, old, p := world(t)
	d := startDevice(t)
	d.enroll(s.link("--replace", old.profile().Device))
	testenv.Eventually(t, "the old device to hear of it", func() bool {
		return old.cli("", "enrolled", old.profile().ID).status == 3
	})
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
}
