package e2e

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
)

// dieAt enrolls and kills the service when its TPM has done a command and not
// answered yet; then it starts the service again.
func (d *device) dieAt(code tpm2.TPMCC, stdin string, args ...string) {
	d.tb.Helper()
	before := d.wire.Count(code)
	d.wire.Inject(code, testenv.Hang)
	ended := make(chan answer)
	go func() { ended <- d.cli(stdin, append([]string{"enroll"}, args...)...) }()
	testenv.Eventually(d.tb, "the command to reach the TPM", func() bool { return d.wire.Count(code) > before })
	d.proc.kill()
	(<-ended).want(d.tb, 4)
	d.start()
}

// indices are the NV indices of the TPM, while the service is down.
func (d *device) indices() []tpm2.TPMHandle {
	d.tb.Helper()
	d.proc.kill()
	raw := d.tpm.Dial()
	defer raw.Close()
	return raw.Indices()
}

func (d *device) nothingUnderWay() bool {
	left, _ := filepath.Glob(filepath.Join(d.state(), "reservations", "*"))
	under, _ := filepath.Glob(filepath.Join(d.state(), "enrolling", "*"))
	return len(left)+len(under) == 0
}

// TestKilledBetweenDefineAndJournal: the index that the chip holds for a key
// which never was goes at the next start, and another program's stays.
func TestKilledBetweenDefineAndJournal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	d.defineForeignIndex()
	d.start()
	d.dieAt(tpm2.TPMCCNVDefineSpace, pin+"\n", s.link(), "--pin-stdin")
	testenv.Eventually(t, "the leftover to be removed", d.nothingUnderWay)
	if got := d.indices(); !slices.Equal(got, []tpm2.TPMHandle{foreignIndex}) {
		t.Errorf("the chip holds %x", got)
	}
}

// TestKilledInTheProof: a TPM goes on by itself, without the PIN, and the key is
// attested all the same.
func TestKilledInTheProof(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := factoryDevice(t, s)
	d.start()
	d.dieAt(tpm2.TPMCCActivateCredential, pin+"\n", s.link(), "--pin-stdin")
	testenv.Eventually(t, "the enrollment to come to its end", func() bool { return d.count("profiles") == 1 })
	if _, v := d.approved(newPortal(t, s), "login"); !v.Attested || !v.PINBound {
		t.Errorf("the evidence says %+v", v)
	}
}

// TestTokenKilledInTheProof: nobody is there to type the PIN, so the enrollment
// ends; what the token gives up only to a person is listed, and deleted by one.
func TestTokenKilledInTheProof(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := factoryDevice(t, s)
	d.insert(s, virtualpiv.WithFirmware("5.7.1"))
	d.start()
	link := s.link()
	d.dieAt(tpm2.TPMCCActivateCredential, tokenSecrets(), link, "--key", "piv", "--pin-stdin")
	testenv.Eventually(t, "the enrollment to end", func() bool { return d.count("keys") == 1 })
	list, _ := d.cli("", "keys").ok(t).json["keys"].([]any)
	left := list[0].(map[string]any)
	if left["role"] != "leftover" || left["provider"] != "piv" || d.count("profiles") != 0 {
		t.Fatalf("listed: %v", left)
	}
	d.cli(tokenSecrets(), "keys", "delete", left["owner"].(string), "--pin-stdin").ok(t)
	if d.count("keys") != 0 {
		t.Error("it is still there")
	}
	d.cli(tokenSecrets(), "enroll", link, "--key", "piv", "--pin-stdin").want(t, 1) // the link went to the keys that are gone
	d.enrollToken(s)
	d.approved(newPortal(t, s), "login")
}
