package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
)

// configured starts a server with a configuration of its own.
func configured(tb testing.TB, text string) *server {
	tb.Helper()
	config := filepath.Join(tb.TempDir(), "server.toml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	s := &server{tb: tb, data: filepath.Join(tb.TempDir(), "server"), log: new(testenv.Log), config: config}
	s.run("--listen", "127.0.0.1:0", "--device-listen", "127.0.0.1:0")
	s.command("", "user", "add", "alice").ok(tb)
	return s
}

// member is a member of the one profile that the device lists.
func (d *device) member(name string) any {
	d.tb.Helper()
	list, _ := d.cli("", "profiles").ok(d.tb).json["profiles"].([]any)
	if len(list) != 1 {
		d.tb.Fatalf("%d profiles", len(list))
	}
	return list[0].(map[string]any)[name]
}

// checks are the codes of doctor, with how each stands.
func (d *device) checks() map[string]string {
	d.tb.Helper()
	out := map[string]string{}
	list, _ := d.cli("", "doctor").json["checks"].([]any)
	for _, c := range list {
		m := c.(map[string]any)
		out[m["code"].(string)] = m["status"].(string)
	}
	return out
}

func (d *device) renew(line string, args ...string) answer {
	d.tb.Helper()
	return d.cli(line, append([]string{"renew", d.profile().ID}, args...)...)
}

// TestRenew makes both keys anew, with the PIN that there is.
func TestRenew(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), factoryDevice(t, s)
	d.defineForeignIndex()
	d.start()
	d.enroll(s.link())
	before := p.begin("login")
	d.waitFor(before.ID)
	d.approve(before).ok(t)
	d.connected()

	old := d.profile()
	if a := d.renew("000000\n", "--pin-stdin").want(t, 1); a.code() != "wrong_pin" {
		t.Errorf("a wrong PIN: %s", a.stdout)
	}
	d.renew("").want(t, 2)
	d.renew(pin+"\n", "--device", "--pin-stdin").want(t, 2)
	if now := d.profile(); !bytes.Equal(now.ApprovalChain[0], old.ApprovalChain[0]) || !bytes.Equal(now.DeviceChain[0], old.DeviceChain[0]) {
		t.Error("a renewal that was refused has changed a key")
	}
	a := d.renew(pin+"\n", "--pin-stdin").ok(t)
	for _, role := range []string{"device", "approval"} {
		if m, _ := a.json[role].(map[string]any); m["renewed"] != true || m["settled"] != true {
			t.Errorf("renew says %s", a.stdout)
		}
	}
	if m, _ := a.json["key"].(map[string]any); m["attested"] != true || m["pin_counter"] != "index" {
		t.Errorf("the new key is %s", a.stdout)
	}
	now := d.profile()
	if bytes.Equal(now.ApprovalChain[0], old.ApprovalChain[0]) || bytes.Equal(now.DeviceChain[0], old.DeviceChain[0]) || now.ID != old.ID {
		t.Error("not both keys are others")
	}
	d.connected()
	d.onlyPIN(p, pin, otherPIN)
	d.denies(p)
	p.verified(p.get(before.ID))
	d.noLeftovers()
	d.connected()
	d.renew("", "--device").ok(t)
	if again := d.profile(); bytes.Equal(again.DeviceChain[0], now.DeviceChain[0]) || !bytes.Equal(again.ApprovalChain[0], now.ApprovalChain[0]) {
		t.Error("not the device key alone is another")
	}
	d.denies(p)
	d.onlyPIN(p, pin, otherPIN)
	s.proc.kill()
	if a := d.renew(pin+"\n", "--pin-stdin").want(t, 4); a.code() != "server_unreachable" {
		t.Errorf("without the server: %s", a.stdout)
	}
	s.again()
	d.noLeftovers()
	d.connected()
	d.denies(p)
}

// denies has the device key sign.
func (d *device) denies(p *portal) {
	d.tb.Helper()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.cli("", "deny", tx.ID).ok(d.tb)
	p.verified(p.get(tx.ID))
}

// TestServiceRenewsItsDeviceKey, and asks for what it cannot do itself. The
// certificates are backdated by an hour, so that one of a minute is due at once.
func TestServiceRenewsItsDeviceKey(t *testing.T) {
	t.Parallel()
	s := configured(t, "[enrollment]\ncertificate_lifetime = \"1m\"\n")
	p, d := newPortal(t, s), startDevice(t)
	d.enroll(s.link())
	old := d.profile()
	testenv.Eventually(t, "another device key", func() bool { return !bytes.Equal(d.profile().DeviceChain[0], old.DeviceChain[0]) })
	testenv.Eventually(t, "the old one to be given up", func() bool { return d.checks()["renewal_unsettled"] == "" })
	if !bytes.Equal(d.profile().ApprovalChain[0], old.ApprovalChain[0]) {
		t.Error("the approval key was renewed with nobody there")
	}
	if by := d.member("renew_by"); by == nil || d.checks()["approval_renewal_due"] != "warn" {
		t.Errorf("renew by %v, doctor says %v", by, d.checks())
	}
	if a := d.cli("", "status").ok(t); !strings.Contains(a.stdout, "approval key expires") {
		t.Errorf("status says %s", a.stdout)
	}
	d.denies(p)
}

// TestRevocationIsNoticed whatever the two were doing at that moment.
func TestRevocationIsNoticed(t *testing.T) {
	for name, between := range map[string]func(s *server, d *device, revoke func()){
		"a poll waits":        func(_ *server, _ *device, revoke func()) { revoke() },
		"the server was away": func(s *server, _ *device, revoke func()) { s.proc.kill(); revoke(); s.again() },
		"the service was off": func(_ *server, d *device, revoke func()) { d.proc.kill(); revoke(); d.start() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			p, d := newPortal(t, s), startDevice(t)
			d.enroll(s.link())
			d.connected()
			d.waitFor(p.begin("login").ID)
			id := d.profile().Device
			between(s, d, func() { s.command("", "device", "revoke", id).ok(t) })
			testenv.Eventually(t, "the profile to be revoked", func() bool { return d.member("state") == "revoked" })
			if reason, _ := d.member("reason").(string); !strings.Contains(reason, "revoked") {
				t.Errorf("the reason is %q", reason)
			}
			if n := d.count("requests"); n != 0 {
				t.Errorf("%d requests are left", n)
			}
			// Its keys stay until somebody says so.
			if n := d.count("keys"); n != 2 {
				t.Errorf("%d keys", n)
			}
			if a := d.cli("", "unenroll", d.profile().ID).ok(t); a.json["server_told"] != true {
				t.Errorf("unenroll says %s", a.stdout)
			}
			if d.count("profiles")+d.count("keys") != 0 {
				t.Error("something is left")
			}
		})
	}
}

// TestEnrollingAgainReplaces: the old enrollment of this device goes by itself,
// and the records say that it is the same device; another's stays to be seen.
func TestEnrollingAgainReplaces(t *testing.T) {
	t.Parallel()
	s := configured(t, "[enrollment]\nmode = \"override\"\n")
	p, d, other := newPortal(t, s), newDevice(t), startDevice(t)
	d.defineForeignIndex()
	d.start()
	d.enroll(s.link())
	old := d.profile()
	d.enroll(s.link())
	testenv.Eventually(t, "the old profile to go", func() bool { return d.count("profiles") == 1 })
	d.noLeftovers()
	d.connected()
	next := d.profile()
	if next.ID == old.ID {
		t.Fatal("the new profile went")
	}
	devices := s.devices()
	if a, b := devices[old.Device], devices[next.Device]; a["reason"] != "replaced" || a["successor"] != next.Device || b["succeeds"] != old.Device {
		t.Errorf("the server lists %v and %v", a, b)
	}
	d.onlyPIN(p, pin, otherPIN)

	other.enroll(s.link())
	testenv.Eventually(t, "the profile to be revoked", func() bool { return d.member("state") == "revoked" })
	if reason, _ := d.member("reason").(string); !strings.Contains(reason, "replaced") || d.count("keys") != 2 {
		t.Errorf("the reason is %q, and there are %d keys", reason, d.count("keys"))
	}
	if b := s.devices()[other.profile().Device]; b["succeeds"] != nil {
		t.Errorf("another device is said to succeed: %v", b)
	}
}

// devices are what the server lists, by id.
func (s *server) devices() map[string]map[string]any {
	s.tb.Helper()
	out := map[string]map[string]any{}
	list, _ := s.command("", "device", "list", "--json").ok(s.tb).json["devices"].([]any)
	for _, e := range list {
		m := e.(map[string]any)
		out[m["id"].(string)] = m
	}
	return out
}

// TestUnenroll ends an enrollment on both sides, on one where the other is away,
// and on neither.
func TestUnenroll(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), newDevice(t)
	d.defineForeignIndex()
	d.start()
	d.cli("", "unenroll", "nobody").want(t, 3)
	d.enroll(s.link())
	d.connected()
	id := d.profile().Device
	d.waitFor(p.begin("login").ID)
	d.cli("", "unenroll", d.profile().ID).ok(t)
	if m := s.devices()[id]; m["state"] != "revoked" || m["reason"] != "left" {
		t.Errorf("the server lists %v", m)
	}
	if d.count("profiles")+d.count("keys")+d.count("requests") != 0 {
		t.Error("something is left")
	}
	d.noLeftovers()

	d.enroll(s.link())
	d.connected()
	id = d.profile().Device
	s.proc.kill()
	if a := d.cli("", "unenroll", d.profile().ID).want(t, 4); a.code() != "server_unreachable" {
		t.Errorf("without the server: %s", a.stdout)
	}
	s.again()
	d.connected()
	d.onlyPIN(p, pin, otherPIN)
	s.proc.kill()
	if a := d.cli("", "unenroll", d.profile().ID, "--force").ok(t); a.json["server_told"] != false {
		t.Errorf("by force: %s", a.stdout)
	}
	s.again()
	if m := s.devices()[id]; m["state"] != "active" || d.count("profiles")+d.count("keys") != 0 {
		t.Errorf("the server lists %v", m)
	}
	d.noLeftovers()
}

// TestUnenrollDeliversFirst: a decision that the server has not heard of is not
// given up unasked.
func TestUnenrollDeliversFirst(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p, d := newPortal(t, s), startDevice(t)
	d.enroll(s.link())
	d.connected()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	s.proc.kill()
	d.cli("", "deny", tx.ID).want(t, 4)
	if a := d.cli("", "unenroll", d.profile().ID).want(t, 4); a.code() != "decisions_undelivered" {
		t.Errorf("with a decision on its way: %s", a.stdout)
	}
	s.again()
	testenv.Eventually(t, "the end", func() bool { return d.cli("", "unenroll", d.profile().ID).status == 0 })
	p.ends(tx, "denied")
}

// TestEnrollmentsAreThrottled: a program of the user cannot fill the chip.
func TestEnrollmentsAreThrottled(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := startDevice(t)
	link := s.link()
	for range 6 {
		if a := d.cli(pin+"\n", "enroll", strings.Replace(link, "token=", "token=X", 1), "--pin-stdin").want(t, 1); a.code() != "token_unknown" {
			t.Fatalf("a wrong token: %s", a.stdout)
		}
	}
	if a := d.cli(pin+"\n", "enroll", link, "--pin-stdin").want(t, 1); a.code() != "too_many_enrollments" {
		t.Errorf("the seventh: %s", a.stdout)
	}
}

// TestRenewOfAToken moves the approval key to another slot. What is in the old one
// takes its owner, and so does the end of the enrollment.
func TestRenewOfAToken(t *testing.T) {
	s, d, _ := tokenWorld(t)
	d.enrollToken(s, "--no-touch")
	d.connected()
	p, old := newPortal(t, s), d.profile()
	if m, _ := d.renew(tokenSecrets(), "--pin-stdin").ok(t).json["approval"].(map[string]any); m["renewed"] != true {
		t.Errorf("renew says %v", m)
	}
	if bytes.Equal(d.profile().ApprovalChain[0], old.ApprovalChain[0]) {
		t.Error("the approval key is the old one")
	}
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.approve(tx).ok(t)
	p.verified(p.get(tx.ID))
	left := d.leftover()
	d.cli(tokenSecrets(), "keys", "delete", left, "--pin-stdin").ok(t)
	if n := d.count("keys"); n != 2 {
		t.Errorf("%d keys", n)
	}
	if a := d.cli("", "unenroll", d.profile().ID).want(t, 1); a.code() != "pin_required" && a.code() != "admin_required" {
		t.Errorf("without the PIN: %s", a.stdout)
	}
	if a := d.cli(tokenSecrets(), "unenroll", d.profile().ID, "--pin-stdin").ok(t); a.json["server_told"] != true {
		t.Errorf("unenroll says %s", a.stdout)
	}
	if d.count("profiles")+d.count("keys") != 0 {
		t.Error("something is left")
	}
}

// leftover is the one key that the list says waits for a person.
func (d *device) leftover() string {
	d.tb.Helper()
	list, _ := d.cli("", "keys").ok(d.tb).json["keys"].([]any)
	for _, e := range list {
		if m := e.(map[string]any); m["state"] == "leftover" {
			return m["owner"].(string)
		}
	}
	d.tb.Fatalf("no leftover among %v", list)
	return ""
}

// TestDeviceKeyOnATokenStays, and the approval key is renewed all the same.
func TestDeviceKeyOnATokenStays(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	d.insert(s, virtualpiv.WithFirmware("5.7.1"))
	d.tpm.Kill()
	d.start()
	d.enrollToken(s, "--no-touch")
	d.connected()
	if a := d.renew("", "--device").want(t, 1); a.code() != "key_not_renewable" {
		t.Errorf("the device key: %s", a.stdout)
	}
	a := d.renew(tokenSecrets(), "--pin-stdin").ok(t)
	device, _ := a.json["device"].(map[string]any)
	approval, _ := a.json["approval"].(map[string]any)
	if device["renewed"] != false || approval["renewed"] != true {
		t.Errorf("renew says %s", a.stdout)
	}
}
