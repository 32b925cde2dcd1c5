package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// offer starts a transaction without a user.
func (p *portal) offer() (tx transaction, code, link string) {
	p.tb.Helper()
	tx = p.call("POST", "/v1/transactions", "", map[string]any{
		"type": "qr", "message": "Sign in to the kiosk", "context": map[string]string{"place": "Hall 3"},
	})
	if tx.http != http.StatusCreated {
		p.tb.Fatalf("offer: %d %s", tx.http, tx.raw)
	}
	var o struct {
		OTP    string `json:"otp"`
		OTPURI string `json:"otp_uri"`
	}
	if err := json.Unmarshal(tx.raw, &o); err != nil {
		p.tb.Fatal(err)
	}
	return tx, o.OTP, o.OTPURI
}

func codeWorld(t *testing.T) (*server, *device, *portal) {
	t.Helper()
	s, d, p := world(t)
	s.command("", "type", "set", "qr", "--method", "otp", "--class", "C2", "--ttl", "120s").ok(t)
	return s, d, p
}

// TestOneTimeCode redeems codes in each form that needs no picture, and follows
// one to its evidence.
func TestOneTimeCode(t *testing.T) {
	s, d, p := codeWorld(t)
	for name, redeem := range map[string]func(code, link string) answer{
		"argument": func(code, _ string) answer { return d.cli("", "otp", code) },
		"small":    func(code, _ string) answer { return d.cli("", "otp", strings.ToLower(code)) },
		"link":     func(_, link string) answer { return d.cli("", "otp", link) },
		"pipe":     func(code, _ string) answer { return d.cli(code+"\n", "otp", "-") },
	} {
		tx, code, link := p.offer()
		a := redeem(code, link).ok(t)
		if a.text("id") != tx.ID || a.text("status") != "pending" || a.text("origin") != "typed" {
			t.Errorf("%s: %s", name, a.stdout)
		}
		if strings.Contains(d.log.String(), code) || strings.Contains(a.stdout, code) {
			t.Errorf("%s: the code is in the log or in the answer", name)
		}
		d.approve(tx).ok(t)
		got := p.get(tx.ID)
		if got.Status != "approved" {
			t.Errorf("%s: %s", name, got.raw)
		}
		p.verified(got)
	}
	second := startDevice(t)
	second.enroll(s.link())
	_, code, _ := p.offer()
	d.cli("", "otp", code).ok(t)
	if a := second.cli("", "otp", code); a.status != 1 || a.code() != "otp_unknown" {
		t.Errorf("a second device: %d %s", a.status, a.stdout)
	}
}

// TestCodesThatLeadNowhere: no code makes the service call a server that it does
// not know.
func TestCodesThatLeadNowhere(t *testing.T) {
	_, d, p := codeWorld(t)
	_, code, link := p.offer()
	elsewhere := strings.Replace(link, "127.0.0.1", "127.0.0.2", 1)
	for _, c := range []struct {
		args   []string
		status int
		code   string
	}{
		{[]string{elsewhere}, 3, "not_enrolled"},
		{[]string{"countersign:otp?server=https://x"}, 1, "bad_request"},
		{[]string{"not a code!"}, 1, "bad_request"},
		{[]string{strings.Repeat("A", 26)}, 1, "otp_unknown"},
		{[]string{code, "--profile", "nobody@nowhere"}, 3, "not_enrolled"},
		{nil, 2, "usage"},
	} {
		if a := d.cli("", append([]string{"otp"}, c.args...)...); a.status != c.status || a.code() != c.code {
			t.Errorf("%q: %d %s", c.args, a.status, a.stdout)
		}
	}
	shown := exec.Command(filepath.Join(bin, "countersign"), "otp", code, "--socket", d.socket())
	out, err := shown.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "countersign approve") {
		t.Errorf("in words: %s, %v", out, err)
	}
}
