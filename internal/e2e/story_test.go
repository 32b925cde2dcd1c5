package e2e

import (
	"testing"

	"countersign/internal/testenv"
)

// world is one server, one enrolled device and one portal.
func world(t *testing.T) (*server, *device, *portal) {
	t.Helper()
	t.Parallel()
	s := startServer(t)
	d := startDevice(t)
	d.enroll(s.link())
	return s, d, newPortal(t, s)
}

func (d *device) approve(tx transaction) answer {
	d.tb.Helper()
	return d.cli(pin+"\n", "approve", tx.ID, "--number", tx.Number, "--pin-stdin")
}

// wrong is a number that is not n.
func wrong(n string) string {
	last := '0' + (n[len(n)-1]-'0'+1)%10
	return n[:len(n)-1] + string(last)
}

func TestApprove(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	a := d.approve(tx).ok(t)
	if a.text("status") != "approved" || a.json["confirmed"] != true {
		t.Errorf("the device says %s", a.stdout)
	}
	got := p.get(tx.ID)
	if got.Status != "approved" || got.Evidence == nil {
		t.Fatalf("the server says %s", got.raw)
	}
	p.verified(got)
	d.approvalKeySigned(1)
}

func TestApproveWithoutPIN(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	d.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
	p.verified(p.ends(tx, "approved"))
	d.approvalKeySigned(0)
}

func TestDeny(t *testing.T) {
	_, d, p := world(t)
	for _, c := range []struct{ flag, reason string }{{"", "cancelled"}, {"--not-me", "not_me"}} {
		tx := p.begin("login")
		d.waitFor(tx.ID)
		args := []string{"deny", tx.ID}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		a := d.cli("", args...).ok(t)
		got := p.get(tx.ID)
		if a.text("status") != "denied" || got.Status != "denied" || got.Reason != c.reason {
			t.Errorf("deny %s: the device says %s, the server %s", c.flag, a.stdout, got.raw)
		}
		p.verified(got)
	}
	d.approvalKeySigned(0)
}

func TestWrongNumber(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	for left := 2; left >= 0; left-- {
		a := d.cli("", "approve", tx.ID, "--number", wrong(tx.Number)).want(t, 1)
		e := a.json["error"].(map[string]any)
		if a.code() != "wrong_number" || e["tries_left"] != float64(left) {
			t.Fatalf("want wrong_number with %d tries left, got %s", left, a.stdout)
		}
	}
	p.ends(tx, "failed")
	if a := d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 1); a.text("status") != "failed" {
		t.Errorf("the right number after the third wrong one: %s", a.stdout)
	}
}

func TestRightNumberAfterWrongOne(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.cli(pin+"\n", "approve", tx.ID, "--number", wrong(tx.Number), "--pin-stdin").want(t, 1)
	d.approve(tx).ok(t)
	p.verified(p.get(tx.ID))
	d.approvalKeySigned(2)
}

func TestWrongPIN(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	a := d.cli("000000\n", "approve", tx.ID, "--number", tx.Number, "--pin-stdin").want(t, 1)
	e := a.json["error"].(map[string]any)
	if a.code() != "wrong_pin" || e["tries_left"] != 4.0 {
		t.Fatalf("want wrong_pin with 4 tries left, got %s", a.stdout)
	}
	if !d.lists(tx.ID) || p.now(tx.ID).Status != "pending" {
		t.Error("a wrong PIN ended the request")
	}
	d.approvalKeySigned(0)
	d.approve(tx).ok(t)
	if d.wire.Contains([]byte(pin)) || d.wire.Contains([]byte("000000")) {
		t.Error("a PIN crossed the TPM's wire in the clear")
	}
}

func TestMissingAnswersAreUsageErrors(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.cli("", "approve", tx.ID).want(t, 2)
	d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 2)
	if !d.lists(tx.ID) {
		t.Error("the request is gone")
	}
	d.cli("", "approve", "nonesuch", "--number", "123456").want(t, 3)
	d.cli("", "show", "nonesuch").want(t, 3)
	d.cli("", "enrolled", "nonesuch").want(t, 3)
	d.cli("", "frobnicate").want(t, 2)
}

func TestExpiry(t *testing.T) {
	s, d, p := world(t)
	s.command("", "type", "set", "quick", "--method", "push_with_pin", "--class", "C2", "--ttl", "3s").ok(t)
	tx := p.begin("quick")
	testenv.Eventually(t, "the request to arrive", func() bool { return d.requests("--all")[tx.ID] != "" })
	p.ends(tx, "expired")
	d.waitGone(tx.ID)
	if a := d.approve(tx).want(t, 1); a.text("status") != "expired" {
		t.Errorf("the device says %s", a.stdout)
	}
	d.approvalKeySigned(0)
}

func TestCancel(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	p.call("POST", "/v1/transactions/"+tx.ID+"/cancel", "", map[string]any{})
	d.waitGone(tx.ID)
	if a := d.approve(tx).want(t, 1); a.text("status") != "cancelled" {
		t.Errorf("the device says %s", a.stdout)
	}
	p.ends(tx, "cancelled")
	d.approvalKeySigned(0)
}

func TestTwoDevices(t *testing.T) {
	s, first, p := world(t)
	second := startDevice(t)
	second.enroll(s.link())
	tx := p.begin("login")
	first.waitFor(tx.ID)
	second.waitFor(tx.ID)
	second.approve(tx).ok(t)
	first.waitGone(tx.ID)
	if a := first.approve(tx).want(t, 1); a.text("status") != "approved" || a.json["confirmed"] == true {
		t.Errorf("the device that did not decide says %s", a.stdout)
	}
	first.approvalKeySigned(0)
}

func TestRestartedAgentKeepsThePendingRequest(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	before := d.cli("", "show", tx.ID).ok(t)
	d.proc.kill()
	d.start()
	d.waitFor(tx.ID)
	after := d.cli("", "show", tx.ID).ok(t)
	if before.text("request_hash") != after.text("request_hash") || before.text("display_hash") != after.text("display_hash") {
		t.Error("the restarted service shows another request")
	}
	d.approve(tx).ok(t)
	p.verified(p.get(tx.ID))
	d.proc.stop()
}

func TestRestartedServerKeepsTheTransaction(t *testing.T) {
	s, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	s.proc.kill()
	s.again()
	d.approve(tx).ok(t)
	p.verified(p.get(tx.ID))
	again := p.begin("confirm")
	d.waitFor(again.ID)
	s.proc.stop()
}

// TestKilledBetweenDecisionAndDelivery makes the decision while the server is
// away, kills the service, and sees the decision delivered once, later.
func TestKilledBetweenDecisionAndDelivery(t *testing.T) {
	s, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	s.proc.kill()
	a := d.approve(tx).want(t, 4)
	if a.json["confirmed"] != false || a.text("status") != "unconfirmed" {
		t.Errorf("without a server the device says %s", a.stdout)
	}
	d.proc.kill()
	d.start()
	if got := d.requests("--all")[tx.ID]; got != "unconfirmed" {
		t.Errorf("the restarted service says %q of the request, want unconfirmed", got)
	}
	d.approve(tx).want(t, 1) // it is decided: nobody decides it twice
	s.again()
	testenv.Eventually(t, "the decision to be delivered", func() bool { return p.now(tx.ID).Status == "approved" })
	testenv.Eventually(t, "the receipt to be stored", func() bool { return d.requests("--all")[tx.ID] == "approved" })
	p.verified(p.get(tx.ID))
	d.approvalKeySigned(1)
}

func TestRevokedDeviceKnowsIt(t *testing.T) {
	s, d, p := world(t)
	id := d.profile()
	s.command("", "device", "revoke", id.Device).ok(t)
	testenv.Eventually(t, "the revocation to arrive", func() bool {
		return d.cli("", "enrolled", id.ID).status == 3
	})
	if got := p.call("POST", "/v1/transactions", "", map[string]any{"type": "login", "user": "alice", "message": "m"}); got.http != 422 {
		t.Errorf("a transaction without a device: %d %s", got.http, got.raw)
	}
}

func TestServiceWithoutTPM(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.proc.kill()
	d.tpm.Kill()
	d.start() // ready all the same
	st := d.cli("", "status").ok(t)
	if degraded, _ := st.json["degraded"].([]any); len(degraded) == 0 {
		t.Errorf("status hides that the TPM is gone: %s", st.stdout)
	}
	d.cli("", "doctor").want(t, 1)
	d.tpm.Restart()
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
}
