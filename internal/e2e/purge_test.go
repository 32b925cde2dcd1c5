package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// purge runs countersignd purge on the device's state and TPM.
func (d *device) purge(args ...string) answer {
	d.tb.Helper()
	return command(d.tb, "", "countersignd", append([]string{"purge", "--user", "--state", d.state(), "--tpm", d.wire.Spec()}, args...)...)
}

// TestPurge takes away what was enrolled, and nothing of anybody else's.
func TestPurge(t *testing.T) {
	t.Parallel()
	s, d := startServer(t), newDevice(t)
	d.defineForeignIndex()
	d.purge("--yes").ok(t) // there is nothing yet
	d.start()
	d.enroll(s.link())
	if a := d.purge("--yes").want(t, 1); !strings.Contains(a.stderr, "another service uses this state directory") {
		t.Errorf("while the service runs: %s", a.stderr)
	}
	d.proc.kill()
	before := d.indices()
	if a := d.purge().ok(t); !strings.Contains(a.stdout, "profile alice at "+s.issuer) || !strings.Contains(a.stdout, "--yes") {
		t.Errorf("without --yes: %s", a.stdout)
	}
	if now := d.indices(); !slices.Equal(now, before) || len(now) < 2 {
		t.Fatalf("without --yes the TPM has %x after %x", now, before)
	}
	d.tpm.Kill()
	if a := d.purge("--yes").want(t, 1); !strings.Contains(a.stderr, "Not removed: profile alice") {
		t.Errorf("without its TPM: %s", a.stderr)
	}
	d.tpm.Restart()
	if a := d.purge("--yes").ok(t); !strings.Contains(a.stdout, "key for approval, NV index 0x01") {
		t.Errorf("it says %s", a.stdout)
	}
	if now := d.indices(); !slices.Equal(now, []tpm2.TPMHandle{foreignIndex}) {
		t.Errorf("the TPM has %x", now)
	}
	if _, err := os.Stat(d.state()); !os.IsNotExist(err) {
		t.Errorf("the state directory: %v", err)
	}
	d.start() // and it can begin anew
	if n := d.count("profiles"); n != 0 {
		t.Errorf("%d profiles", n)
	}
	d.enroll(s.link())
}

// TestPurgeByWhatWasPrepared is what a package does: the program goes, and what it
// has left behind for the purge does the same.
func TestPurgeByWhatWasPrepared(t *testing.T) {
	t.Parallel()
	s, d := startServer(t), newDevice(t)
	d.defineForeignIndex()
	kept := filepath.Join(t.TempDir(), "kept")
	d.purge("--prepare", kept).ok(t)
	if _, err := os.Stat(kept); !os.IsNotExist(err) {
		t.Errorf("with nothing to purge something is prepared: %v", err)
	}
	d.start()
	d.enroll(s.link())
	d.proc.kill()
	d.purge("--prepare", kept).ok(t)
	cmd := exec.Command(filepath.Join(kept, "countersignd"), "purge", "--yes", "--force", "--config", filepath.Join(kept, "countersignd.toml"))
	runCommand(t, "", cmd).ok(t)
	if now := d.indices(); !slices.Equal(now, []tpm2.TPMHandle{foreignIndex}) {
		t.Errorf("the TPM has %x", now)
	}
}

// TestPurgeForced leaves no state behind whatever the TPM does, and says what is
// still in it.
func TestPurgeForced(t *testing.T) {
	t.Parallel()
	s, d := startServer(t), startDevice(t)
	d.enroll(s.link())
	d.proc.kill()
	d.tpm.Kill()
	a := d.purge("--yes", "--force").ok(t)
	if !strings.Contains(a.stderr, "Not removed: profile alice") || !strings.Contains(a.stdout, "Removed "+d.state()) {
		t.Errorf("it says\n%s%s", a.stdout, a.stderr)
	}
	if _, err := os.Stat(d.state()); !os.IsNotExist(err) {
		t.Errorf("the state directory: %v", err)
	}
}

// TestPurgeTrustsNobody: root does not walk where another user can lay links.
func TestPurgeTrustsNobody(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be the wrong user")
	}
	d := newDevice(t)
	if err := os.MkdirAll(filepath.Join(d.state(), "profiles"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(d.state(), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if a := d.purge("--yes").want(t, 1); !strings.Contains(a.stderr, "runuser -u countersign") {
		t.Errorf("it says %s", a.stderr)
	}
}
