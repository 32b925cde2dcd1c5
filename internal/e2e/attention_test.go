package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// quiet is why the device prompts nobody for a request that it lists.
func (d *device) quiet(id string) string {
	d.tb.Helper()
	list, _ := d.cli("", "requests").ok(d.tb).json["requests"].([]any)
	for _, r := range list {
		if m := r.(map[string]any); m["id"] == id {
			why, _ := m["quiet"].(string)
			return why
		}
	}
	d.tb.Fatalf("%s is not listed", id)
	return ""
}

// TestTiredOfBeingAsked denies until there is silence, and approves by itself
// then: with the PIN, whatever the type asks for.
func TestTiredOfBeingAsked(t *testing.T) {
	s, d, p := world(t)
	for range 3 {
		tx := p.begin("confirm")
		d.waitFor(tx.ID)
		d.cli("", "deny", tx.ID).ok(t)
	}
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	if why := d.quiet(tx.ID); why != "too_many" {
		t.Errorf("quiet: %q", why)
	}
	testenv.Eventually(t, "the server to be told", func() bool {
		return strings.Contains(s.command("", "device", "list", "--json").ok(t).stdout, "quiet_until")
	})
	d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 2)
	d.approve(tx).ok(t)
	got := p.get(tx.ID)
	p.verified(got)
	var decided struct {
		UV struct{ Class, Method string } `json:"uv"`
	}
	payload(t, got.Evidence.Decision, &decided)
	if decided.UV.Class != "C2" || decided.UV.Method != "pin" {
		t.Errorf("decided by %+v", decided.UV)
	}
	tx = p.begin("confirm")
	d.waitFor(tx.ID)
	if why := d.quiet(tx.ID); why != "too_many" {
		t.Errorf("the silence ended early: %q", why)
	}
	d.cli("", "approve", tx.ID, "--number", tx.Number).want(t, 2)
	d.approve(tx).ok(t)
}

func TestMute(t *testing.T) {
	_, d, p := world(t)
	if until := d.cli("", "mute", "--for", "1h").ok(t).text("muted_until"); until == "" {
		t.Error("it is not said until when")
	}
	d.proc.kill()
	d.start()
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	if why := d.quiet(tx.ID); why != "muted" {
		t.Errorf("quiet: %q", why)
	}
	d.cli("", "mute", "--for", "0").ok(t)
	if why := d.quiet(tx.ID); why != "" {
		t.Errorf("quiet: %q", why)
	}
	d.cli("", "mute", "--for", "25h").want(t, 2)
	d.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
}

func TestNotMeBlocksTheRelyingParty(t *testing.T) {
	s, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.cli("", "deny", tx.ID, "--not-me").ok(t)
	if got := p.call("POST", "/v1/transactions", "", map[string]any{"type": "login", "user": "alice", "message": "m"}); got.Code != "client_blocked" {
		t.Errorf("the portal hears %s", got.raw)
	}
	blocks, _ := d.cli("", "blocks").ok(t).json["blocks"].([]any)
	if len(blocks) != 1 {
		t.Fatalf("blocked: %v", blocks)
	}
	client := blocks[0].(map[string]any)["client"].(map[string]any)["id"].(string)
	s.proc.stop()
	if a := d.cli("", "unblock", client); a.status != 4 {
		t.Errorf("without the server: exit status %d, %s", a.status, a.stdout)
	}
	s.again()
	testenv.Eventually(t, "the block to be lifted", func() bool { return d.cli("", "unblock", client).status == 0 })
	d.cli("", "unblock", client).want(t, 3)
	tx = p.begin("login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
}

// TestACopiedDeviceIsSuspended runs two copies of a state directory in turn, on
// the chip that both keys are in.
func TestACopiedDeviceIsSuspended(t *testing.T) {
	s, d, p := world(t)
	d.proc.stop()
	copied := newDeviceWith(t, d.tpm)
	if err := os.CopyFS(copied.state(), os.DirFS(d.state())); err != nil {
		t.Fatal(err)
	}
	decide := func(d *device, want int) transaction {
		d.start()
		tx := p.begin("confirm")
		d.waitFor(tx.ID)
		d.cli("", "deny", tx.ID).want(t, want)
		return tx
	}
	decide(d, 0)
	d.proc.stop()
	tx := decide(copied, 1)
	if got := p.now(tx.ID); got.Status != "pending" {
		t.Errorf("the copy decided: %s", got.raw)
	}
	state := func(d *device) string {
		list, _ := d.cli("", "profiles").ok(t).json["profiles"].([]any)
		return list[0].(map[string]any)["state"].(string)
	}
	testenv.Eventually(t, "the copy to know", func() bool { return state(copied) == "suspended" })
	if a := copied.cli("", "doctor"); a.status != 1 || !strings.Contains(a.stdout, "suspended") {
		t.Errorf("doctor: %s", a.stdout)
	}
	copied.proc.stop()
	d.start()
	testenv.Eventually(t, "the other one to know", func() bool { return state(d) == "suspended" })
	s.command("", "device", "resume", d.profile().Device).ok(t)
	testenv.Eventually(t, "it to go on", func() bool { return state(d) == "active" })
}

func TestTheLogTellsAndIsWhole(t *testing.T) {
	_, d, p := world(t)
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.cli("000000\n", "approve", tx.ID, "--number", tx.Number, "--pin-stdin").want(t, 1)
	d.approve(tx).ok(t)
	d.proc.kill()
	d.start()
	whole := d.cli("", "log", "--verify").ok(t)
	if whole.json["ok"] != true || len(whole.text("head")) != 43 {
		t.Errorf("verified: %s", whole.stdout)
	}
	log := d.cli("", "log").ok(t).stdout
	for _, kind := range []string{"decision.made", "decision.answered", tx.ID} {
		if !strings.Contains(log, kind) {
			t.Errorf("%s is not in the log: %s", kind, log)
		}
	}
	if strings.Contains(log, pin) || strings.Contains(log, tx.Number) {
		t.Error("a secret is in the log")
	}
	files, err := filepath.Glob(filepath.Join(d.state(), "audit", "log-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err == nil {
		err = os.WriteFile(files[0], bytes.Replace(data, []byte(`"approve"`), []byte(`"deny"`), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if a := d.cli("", "log", "--verify"); a.status != 1 || a.json["ok"] != false {
		t.Errorf("a changed log: exit status %d, %s", a.status, a.stdout)
	}
}
