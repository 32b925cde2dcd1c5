package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// published is what the server says of itself.
func (s *server) published() map[string]any {
	s.tb.Helper()
	return s.command("", "trust", "show", "--json").ok(s.tb).json
}

// behind are the devices that do not know all of it, by id.
func (s *server) behind() map[string]bool {
	s.tb.Helper()
	list, _ := s.published()["behind"].([]any)
	out := map[string]bool{}
	for _, d := range list {
		out[d.(map[string]any)["id"].(string)] = true
	}
	return out
}

// learned waits until a device knows what is published.
func (s *server) learned(d *device) {
	s.tb.Helper()
	id := d.profile().Device
	testenv.Eventually(s.tb, "the device to know what is published", func() bool { return !s.behind()[id] })
}

// reload starts the service again, so that it makes its connections anew.
func (d *device) reload() {
	d.tb.Helper()
	d.proc.stop()
	d.start()
	d.connected()
}

// confirms has the device approve what needs no PIN, and verifies the evidence.
func (d *device) confirms(p *portal) transaction {
	d.tb.Helper()
	tx := p.begin("confirm")
	d.waitFor(tx.ID)
	d.cli("", "approve", tx.ID, "--number", tx.Number).ok(d.tb)
	end := p.get(tx.ID)
	p.verified(end)
	return end
}

// issuerOf is the name that a request carries, and the key that signed it.
func issuerOf(t *testing.T, tx transaction) (name, kid string) {
	t.Helper()
	var claims struct {
		Issuer string `json:"iss"`
	}
	payload(t, tx.Evidence.Request, &claims)
	var header struct {
		Kid string `json:"kid"`
	}
	first, rest, _ := strings.Cut(tx.Evidence.Request, ".")
	payload(t, rest[:0]+"x."+first+".x", &header)
	return claims.Issuer, header.Kid
}

// TestServerChangesAllOfItself replaces the TLS root and the issuer key, moves the
// server to another name, and drops what was there before: devices that are online
// hear of it, and one that was off for all of it comes back by itself. What was
// decided before still verifies.
func TestServerChangesAllOfItself(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	online, laptop := startDevice(t), startDevice(t)
	online.enroll(s.link())
	s.command("", "user", "add", "bob").ok(t)
	laptop.enroll(s.linkFor("bob"))
	s.learned(online)
	s.learned(laptop)
	p := newPortal(t, s)
	first := online.confirms(p)
	oldName, oldKey := issuerOf(t, first)
	pinBefore := s.link()
	laptop.proc.stop()

	s.command("", "tls-root", "retire").want(t, 1)
	s.command("", "tls-root", "prepare").ok(t)
	s.learned(online)
	if a := s.command("", "tls-root", "retire", "--json").want(t, 1); a.code() != "devices_behind" || !strings.Contains(a.stdout, laptop.profile().Device) {
		t.Errorf("while the laptop does not know the next root: %s", a.stdout)
	}
	s.command("", "tls-root", "switch").ok(t)
	online.reload()
	online.confirms(p) // the portal knows the old root alone
	if n := len(readPEM(t, s.ca())); n != 3 {
		t.Errorf("ca.pem holds %d roots", n)
	}

	s.command("", "issuer-key", "rotate").ok(t)
	port := func(url string) string { return url[strings.LastIndex(url, ":"):] }
	newName, newDevice := "https://localhost"+port(s.issuer), "https://localhost"+port(s.device)
	s.command("", "trust", "move", "--issuer", newName, "--device-url", newDevice).ok(t)
	s.learned(online)
	moved := online.confirms(p)
	if name, kid := issuerOf(t, moved); name != newName || kid == oldKey || oldName == newName {
		t.Errorf("after the move requests are from %s with %s, before from %s with %s", name, kid, oldName, oldKey)
	}
	if online.member("server") != newName {
		t.Errorf("the device knows the server as %v", online.member("server"))
	}

	s.command("", "tls-root", "retire", "--force").ok(t)
	s.learned(online)
	if a := s.command("", "issuer-key", "retire", "--json").want(t, 1); a.code() != "devices_behind" {
		t.Errorf("retire while the laptop knows the old key alone: %s", a.stdout)
	}
	online.reload()
	p.trust() // the new ca.pem
	online.confirms(p)

	laptop.start()
	laptop.connected()
	s.learned(laptop)
	if a := s.command("", "issuer-key", "retire", "--json").want(t, 1); a.code() != "requests_under_way" {
		t.Errorf("retire at once: %s", a.stdout)
	}
	s.command("", "issuer-key", "retire", "--force").ok(t)
	for _, url := range []string{s.issuer, s.device} {
		s.command("", "trust", "drop", url).ok(t)
	}
	s.learned(online)
	s.learned(laptop)
	s.issuer = newName
	tx := p.beginFor("bob", "confirm")
	laptop.waitFor(tx.ID)
	laptop.cli("", "approve", tx.ID, "--number", tx.Number).ok(t)
	p.verified(p.get(tx.ID))

	p.verified(first)           // as it was kept
	p.verified(p.now(first.ID)) // as the server tells it now
	p.verified(p.now(moved.ID)) // signed by a key that was new
	online.changePIN(pin, otherPIN).ok(t)
	online.onlyPIN(p, otherPIN, pin)
	if history := online.requests("--all"); history[first.ID] != "approved" {
		t.Errorf("what was decided long ago is %q", history[first.ID])
	}

	s.proc.stop()
	s.again()
	online.reload()
	another := startDevice(t)
	another.cli(pin+"\n", "enroll", pinBefore, "--pin-stdin").want(t, 4) // it names the old root
	s.command("", "user", "add", "carol").ok(t)
	another.enroll(s.linkFor("carol"))
	s.learned(another)
}

// TestDeviceCAIsReplaced: the CA before stays good until it is retired, and what a
// device renews is of the new one. Certificates are backdated, so that those of ten
// minutes are renewed whenever the service starts.
func TestDeviceCAIsReplaced(t *testing.T) {
	t.Parallel()
	s := configured(t, "[enrollment]\ncertificate_lifetime = \"10m\"\n")
	d := startDevice(t)
	d.enroll(s.link())
	p := newPortal(t, s)
	before := d.confirms(p)
	s.command("", "device-ca", "rotate").ok(t)
	d.confirms(p)
	if a := s.command("", "device-ca", "retire", "--json").want(t, 1); a.code() != "devices_behind" {
		t.Errorf("retire while a device has its certificates: %s", a.stdout)
	}
	d.renew(pin+"\n", "--pin-stdin").ok(t)
	d.reload()
	testenv.Eventually(t, "a device key of the next CA", func() bool { return s.command("", "device-ca", "retire").status == 0 })
	d.reload()
	d.onlyPIN(p, pin, otherPIN)
	p.verified(before)
	p.verified(p.now(before.ID))
}

// TestServerStartsUnderAnotherName: who changes the name in the flags has moved.
func TestServerStartsUnderAnotherName(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := startDevice(t)
	d.enroll(s.link())
	s.learned(d)
	old := d.profile().Device
	s.proc.stop()
	port := s.issuer[strings.LastIndex(s.issuer, ":"):]
	s.run("--listen", hostOf(t, s.issuer), "--device-listen", hostOf(t, s.device), "--issuer", "https://localhost"+port)
	s.learned(d)
	if d.member("server") != "https://localhost"+port || d.profile().Device != old {
		t.Errorf("the server is %v", d.member("server"))
	}
	d.confirms(newPortal(t, s))
	for _, name := range []string{"profile.json", "trust.json"} {
		if info, err := os.Stat(filepath.Join(d.profile().dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}
