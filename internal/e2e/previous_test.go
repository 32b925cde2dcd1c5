package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"countersign/internal/testenv"
)

// previous builds the three binaries of the version before, and returns where they
// are.
func previous(t *testing.T) string {
	t.Helper()
	testenv.Need(t, "git")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(root, "scripts", "previous-version")).Output()
	if err != nil {
		t.Skipf("this clone does not reach back to the version before: %v", err)
	}
	dir := t.TempDir()
	script := `git -C "$1" archive "$2" | tar -x -C "$3" && cd "$3" && go build -o bin/ ./cmd/...`
	cmd := exec.Command("sh", "-c", script, "sh", root, strings.TrimSpace(string(out)), dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bin")
}

// TestAgentOfTheVersionBefore works through a change of root, key and name, until the
// old ones are retired; and the version of now takes over its directory, and gives it
// back.
func TestAgentOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	old := newDevice(t)
	old.binary = filepath.Join(previous(t), "countersignd")
	old.start()
	old.enroll(s.link())
	p := newPortal(t, s)
	old.confirms(p)
	port := s.issuer[strings.LastIndex(s.issuer, ":"):]
	for _, change := range [][]string{
		{"tls-root", "prepare"}, {"tls-root", "switch"}, {"issuer-key", "rotate"}, {"trust", "move", "--issuer", "https://localhost" + port},
	} {
		s.command("", change...).ok(t)
	}
	old.reload()
	old.confirms(p)
	for _, retire := range [][]string{{"tls-root", "retire"}, {"issuer-key", "retire"}, {"trust", "drop", s.issuer}} {
		if a := s.command("", append(retire, "--json")...).want(t, 1); a.code() != "devices_behind" {
			t.Errorf("%v: %s", retire, a.stdout)
		}
	}

	old.proc.stop()
	version := old.binary
	old.binary = ""
	old.start()
	s.learned(old)
	s.command("", "tls-root", "retire").ok(t)
	s.command("", "issuer-key", "retire", "--force").ok(t)
	s.command("", "trust", "drop", s.issuer).ok(t)
	s.learned(old)
	s.issuer = "https://localhost" + port
	p.trust()
	old.confirms(p)

	old.proc.stop()
	old.binary = version
	old.start()
	old.connected()
	old.confirms(p)
	old.proc.stop()
	old.binary = ""
	old.start()
	old.connected()
	old.confirms(p)
}

// TestServerOfTheVersionBefore: its directory is taken over, with the names that its
// devices know, and it takes the directory back.
func TestServerOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	s := &server{tb: t, data: filepath.Join(t.TempDir(), "server"), log: new(testenv.Log), binary: filepath.Join(previous(t), "countersign-server")}
	s.run("--listen", "127.0.0.1:0", "--device-listen", "127.0.0.1:0")
	s.command("", "user", "add", "alice").ok(t)
	d := startDevice(t)
	d.enroll(s.link())
	p := newPortal(t, s)
	first := d.confirms(p)
	s.proc.stop()
	version := s.binary
	s.binary = ""
	port := s.issuer[strings.LastIndex(s.issuer, ":"):]
	s.run("--listen", hostOf(t, s.issuer), "--device-listen", hostOf(t, s.device), "--issuer", "https://localhost"+port)
	s.learned(d)
	if d.member("server") != "https://localhost"+port {
		t.Errorf("the server is %v", d.member("server"))
	}
	d.confirms(p)
	p.verified(p.now(first.ID))
	s.proc.stop()
	s.binary = version
	s.run("--listen", hostOf(t, "https://127.0.0.1"+port), "--device-listen", hostOf(t, s.device), "--issuer", "https://localhost"+port)
	d.connected()
	d.confirms(p)
}
