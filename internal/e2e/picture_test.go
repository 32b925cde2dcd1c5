package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// qrOf is the picture that came with a code, as PNG.
func qrOf(t *testing.T, tx transaction) []byte {
	t.Helper()
	var o struct {
		QR string `json:"otp_qr"`
	}
	if err := json.Unmarshal(tx.raw, &o); err != nil {
		t.Fatal(err)
	}
	png, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(o.QR, "data:image/png;base64,"))
	if err != nil || len(png) == 0 || len(o.QR) > 4096 {
		t.Fatalf("otp_qr: %v, %d bytes", err, len(o.QR))
	}
	return png
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCodeInAPicture follows a code from the picture that a page shows to the
// evidence, in which the record says where the code came from.
func TestCodeInAPicture(t *testing.T) {
	_, d, p := codeWorld(t)
	tx, code, _ := p.offer()
	file := writeFile(t, "code.png", qrOf(t, tx))
	a := d.cli("", "otp", "--qr", file).ok(t)
	if a.text("id") != tx.ID || a.text("origin") != "image" || strings.Contains(a.stdout+a.stderr, code) {
		t.Errorf("%s%s", a.stdout, a.stderr)
	}
	var shown struct {
		Lines []string `json:"lines"`
	}
	record := d.cli("", "show", tx.ID).ok(t)
	if err := json.Unmarshal([]byte(record.stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(shown.Lines, "\n"); !strings.Contains(all, "image") || !strings.Contains(all, "Approve only if you started this") {
		t.Errorf("the record says\n%s", all)
	}
	d.approve(tx).ok(t)
	p.verified(p.ends(tx, "approved"))
	for name, c := range map[string]struct {
		file, code string
		status     int
	}{
		"absent":     {filepath.Join(t.TempDir(), "absent.png"), "picture_unreadable", 1},
		"no picture": {writeFile(t, "text.png", []byte("a text")), "picture_unreadable", 1},
		"used":       {writeFile(t, "other.png", otherDevices(t, p)), "otp_unknown", 1},
	} {
		if a := d.cli("", "otp", "--qr", c.file); a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.stdout)
		}
	}
	if a := d.cli("", "otp", "--qr", file, "--screen"); a.status != 2 {
		t.Errorf("two ways at once: %s", a.stdout)
	}
	if a := d.cli("", "doctor"); !strings.Contains(a.stdout, `"code":"qr","status":"ok"`) {
		t.Errorf("doctor says %s", a.stdout)
	}
}

// otherDevices is the picture of a code that was taken back.
func otherDevices(t *testing.T, p *portal) []byte {
	t.Helper()
	tx, _, _ := p.offer()
	p.call("POST", "/v1/transactions/"+tx.ID+"/cancel", "", map[string]any{})
	return qrOf(t, tx)
}

// TestCodeOnTheScreen reads the code that a window shows, through the desktop's
// portal, which asks.
func TestCodeOnTheScreen(t *testing.T) {
	_, d, p := codeWorld(t)
	desk := testenv.StartDesktop(t)
	desk.StartPortal()
	tx, _, _ := p.offer()
	desk.ShowPicture(qrOf(t, tx))
	done := make(chan answer, 1)
	go func() {
		cmd := exec.Command(filepath.Join(bin, "countersign"), "otp", "--screen", "--json", "--socket", d.socket())
		cmd.Env = desk.Env()
		done <- runCommand(t, "", cmd)
	}()
	desk.AnswerPortal(true)
	if a := (<-done).ok(t); a.text("id") != tx.ID || a.text("origin") != "screen" {
		t.Errorf("%s", a.stdout)
	}
}

// TestCodeInATerminal goes on to the questions.
func TestCodeInATerminal(t *testing.T) {
	_, d, p := codeWorld(t)
	tx, code, _ := p.offer()
	term, _ := atTerminal(t, d, "otp", code)
	term.Answer("Number", tx.Number)
	term.Answer("PIN: ", pin)
	got := p.get(tx.ID)
	if got.Status != "approved" {
		t.Fatalf("the server says %s\n%s", got.raw, term.Text())
	}
	p.verified(got)
}

// TestACodeLivesShortly: after its time it is worth as much as one that never
// was.
func TestACodeLivesShortly(t *testing.T) {
	s, d, p := codeWorld(t)
	s.command("", "type", "set", "brief", "--method", "otp", "--class", "C2", "--ttl", "1s").ok(t)
	tx := p.call("POST", "/v1/transactions", "", map[string]any{"type": "brief", "message": "Sign in", "context": map[string]string{"place": "Hall 3"}})
	file := writeFile(t, "code.png", qrOf(t, tx))
	testenv.Eventually(t, "the code to expire", func() bool { return p.now(tx.ID).Status == "expired" })
	if a := d.cli("", "otp", "--qr", file); a.status != 1 || a.code() != "otp_unknown" {
		t.Errorf("an old code: %d %s", a.status, a.stdout)
	}
}
