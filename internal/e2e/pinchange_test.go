package e2e

import (
	"bytes"
	"path/filepath"
	"regexp"
	"testing"

	"countersign/internal/testenv"
)

const otherPIN = "271828"

func (d *device) changePIN(from, to string) answer {
	d.tb.Helper()
	return d.cli(from+"\n"+to+"\n", "pin", "change", d.profile().ID, "--pin-stdin")
}

func (d *device) approveWith(pin string, tx transaction) answer {
	d.tb.Helper()
	return d.cli(pin+"\n", "approve", tx.ID, "--number", tx.Number, "--pin-stdin")
}

// onlyPIN demands that one PIN approves, and that another does not.
func (d *device) onlyPIN(p *portal, right, wrong string) {
	d.tb.Helper()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	if a := d.approveWith(wrong, tx).want(d.tb, 1); a.code() != "wrong_pin" {
		d.tb.Fatalf("the wrong PIN: %s", a.stdout)
	}
	d.approveWith(right, tx).ok(d.tb)
	p.verified(p.get(tx.ID))
}

// TestPINChangeInATPM makes a new key with all that the old one had, and leaves
// nothing of that one but its evidence.
func TestPINChangeInATPM(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), factoryDevice(t, s)
	d.defineForeignIndex()
	d.start()
	d.cli(pin+"\n", "enroll", s.link(), "--algorithm", "RS256", "--pin-stdin").ok(t)
	before := p.begin("login")
	d.waitFor(before.ID)
	d.approve(before).ok(t)
	old := d.profile()
	a := d.changePIN(pin, otherPIN).ok(t)
	key, _ := a.json["key"].(map[string]any)
	if a.json["new_key"] != true || a.json["settled"] != true || key["attested"] != true || key["pin_counter"] != "index" {
		t.Errorf("pin change says %s", a.stdout)
	}
	if now := d.profile(); bytes.Equal(now.ApprovalChain[0], old.ApprovalChain[0]) || !bytes.Equal(now.DeviceChain[0], old.DeviceChain[0]) {
		t.Error("not the approval key alone is another")
	}
	d.onlyPIN(p, otherPIN, pin)
	p.verified(p.get(before.ID))
	d.noLeftovers()
	d.onlyPIN(p, otherPIN, pin)
	if d.wire.Contains([]byte(otherPIN)) {
		t.Error("a PIN crossed the TPM's wire in the clear")
	}
	// And once more, by the new key's word.
	d.changePIN(otherPIN, pin).ok(t)
	d.onlyPIN(p, pin, otherPIN)
	p.verified(p.get(before.ID))
	d.noLeftovers()
}

// TestPINChangeRefused: each refusal says that the PIN is what it was, and a
// wrong PIN alone spends a try.
func TestPINChangeRefused(t *testing.T) {
	s, d, p := world(t)
	d.proc.kill()
	d.defineForeignIndex()
	d.start()
	d.connected()
	a := d.changePIN("000000", otherPIN).want(t, 1)
	if e, _ := a.json["error"].(map[string]any); a.code() != "wrong_pin" || e["tries_left"] != 4.0 {
		t.Errorf("a wrong PIN: %s", a.stdout)
	}
	for _, c := range []struct{ from, to string }{{pin, pin}, {"1", otherPIN}, {pin, "12345"}} {
		if a := d.changePIN(c.from, c.to).want(t, 1); a.code() != "bad_pin" {
			t.Errorf("from %s to %s: %s", c.from, c.to, a.stdout)
		}
	}
	d.cli(pin+"\n", "pin", "change", d.profile().ID, "--pin-stdin").want(t, 2)
	d.cli(pin+"\n"+otherPIN+"\n", "pin", "change", "nobody", "--pin-stdin").want(t, 3)
	d.noLeftovers()
	d.onlyPIN(p, pin, otherPIN)

	s.proc.kill()
	if a := d.changePIN(pin, otherPIN).want(t, 4); a.code() != "server_unreachable" {
		t.Errorf("without the server: %s", a.stdout)
	}
	d.noLeftovers()
	s.again()
	d.connected()
	d.onlyPIN(p, pin, otherPIN)
	d.changePIN(pin, otherPIN).ok(t)
	d.onlyPIN(p, otherPIN, pin)
}

// connected waits until the service has reached the server.
func (d *device) connected() {
	d.tb.Helper()
	testenv.Eventually(d.tb, "the service to reach the server", func() bool {
		list, _ := d.cli("", "profiles").ok(d.tb).json["profiles"].([]any)
		m, _ := list[0].(map[string]any)
		return m["connected"] == true
	})
}

// TestPINChangeOfAToken changes the PIN in place: the same key, and the server
// hears nothing.
func TestPINChangeOfAToken(t *testing.T) {
	s, d, card := tokenWorld(t)
	d.enrollToken(s, "--no-touch")
	p, old := newPortal(t, s), d.profile()
	if a := d.changePIN("000000", otherPIN).want(t, 1); a.code() != "wrong_pin" || card.PINTriesLeft() != 2 {
		t.Errorf("a wrong PIN: %s, %d tries left", a.stdout, card.PINTriesLeft())
	}
	if a := d.changePIN(pin, "123456").want(t, 1); a.code() != "factory_settings" && a.code() != "bad_pin" {
		t.Errorf("the factory's PIN: %s", a.stdout)
	}
	s.proc.kill()
	if a := d.changePIN(pin, otherPIN).ok(t); a.json["new_key"] != false || a.json["settled"] != true {
		t.Errorf("pin change says %s", a.stdout)
	}
	s.again()
	if !bytes.Equal(d.profile().ApprovalChain[0], old.ApprovalChain[0]) {
		t.Error("the key is another")
	}
	d.connected()
	d.onlyPIN(p, otherPIN, pin)
}

// changeSteps are those that the kills come after: what is durable here, and
// what the server may have heard. What the TPM hears in between leaves no other
// trace than what the reservations are about.
var changeSteps = regexp.MustCompile(`^\d+ +(fsync|fdatasync|rename|renameat|renameat2|unlink|unlinkat)\(|^\d+ +(write|writev|sendto|sendmsg)\(\d+<(socket|TCP)`)

// TestPINChangeSurvivesAKillAtEachStep: afterwards one of the two PINs opens the
// profile's key, the other does not, and there is no other key.
func TestPINChangeSurvivesAKillAtEachStep(t *testing.T) {
	s, d, p := crashWorld(t)
	d.enroll(s.link())
	present, next := pin, otherPIN
	n, changed, unchanged := 0, 0, 0
	for killed := true; killed; {
		n += testenv.Stride(5)
		d.proc.kill()
		tr := d.startTraced()
		d.connected()
		tr.armOnly(changeSteps, n)
		a := d.changePIN(present, next)
		var after string
		after, killed = tr.killed()
		d.proc.kill()
		d.start()
		testenv.Eventually(t, "the renewal to come to its end: "+after, func() bool {
			left, _ := filepath.Glob(filepath.Join(d.state(), "profiles", "*", "renewal.json"))
			return len(left) == 0
		})
		d.noLeftovers()
		d.connected()
		tx := p.begin("login")
		d.waitFor(tx.ID)
		switch b := d.approveWith(next, tx); {
		case b.status == 0:
			changed++
			present, next = next, present
		case a.status == 0 || b.code() != "wrong_pin":
			t.Fatalf("killed after %s: the change said %s, and the new PIN: %s", after, a.stdout, b.stdout)
		default:
			unchanged++
			d.approveWith(present, tx).ok(t)
		}
		d.onlyPIN(p, present, next)
	}
	t.Logf("killed at steps up to %d: %d times the PIN stayed, %d times it changed", n, unchanged, changed)
	if unchanged == 0 || changed == 0 || n < 20 {
		t.Error("the kills all came at the same stage: the tracer misses steps")
	}
}
