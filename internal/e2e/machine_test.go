package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"countersign/internal/testenv"
)

// machineToken makes a token for so many computers.
func (s *server) machineToken(uses int) answer {
	s.tb.Helper()
	return s.command("", "machine", "token", "create", "--uses", fmt.Sprint(uses), "--json").ok(s.tb)
}

// machines are the lines of the operator's list.
func (s *server) machines() (list []map[string]any) {
	s.tb.Helper()
	for _, m := range s.command("", "machine", "list", "--json").ok(s.tb).json["machines"].([]any) {
		list = append(list, m.(map[string]any))
	}
	return list
}

// fleet has the device enroll as a computer of the server's fleet: by a token in a
// systemd credential, or where it is "" by its endorsement key. More are lines of
// the table [fleet].
func (d *device) fleet(s *server, token string, more ...string) {
	d.tb.Helper()
	pin := s.pin()
	lines := []string{"[fleet]", fmt.Sprintf("server = %q", s.device), fmt.Sprintf("ca = %q", pin), `spread = "0s"`}
	if token == "" {
		lines = append(lines, `enroll = "ek"`)
	} else {
		lines = append(lines, `enroll = "token"`)
		d.credential(token)
	}
	d.config = filepath.Join(d.dir, "fleet.toml")
	if err := os.WriteFile(d.config, []byte(strings.Join(append(lines, more...), "\n")+"\n"), 0o600); err != nil {
		d.tb.Fatal(err)
	}
}

// credential gives the service a token as systemd does.
func (d *device) credential(token string) {
	d.tb.Helper()
	dir := filepath.Join(d.dir, "credentials")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "countersign.enrollment-token"), []byte(token+"\n"), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	d.env = []string{"CREDENTIALS_DIRECTORY=" + dir}
}

// pin is the server's, as a token's answer has it.
func (s *server) pin() string {
	s.tb.Helper()
	return s.machineToken(1).text("ca")
}

// machine is the computer's own enrollment, as doctor tells it.
func (d *device) machine() map[string]any {
	d.tb.Helper()
	m, _ := d.cli("", "doctor").json["machine"].(map[string]any)
	return m
}

// waitMachine waits until the computer's enrollment is in a state.
func (d *device) waitMachine(state string) map[string]any {
	d.tb.Helper()
	var m map[string]any
	testenv.Eventually(d.tb, "the machine to be "+state, func() bool {
		m = d.machine()
		return m["state"] == state
	})
	return m
}

// waitReported waits until the server has the computer's report.
func (d *device) waitReported() {
	d.tb.Helper()
	testenv.Eventually(d.tb, "a report to arrive", func() bool { return d.machine()["reported_at"] != nil })
}

// check is a finding of doctor by its code.
func (d *device) check(code string) map[string]any {
	d.tb.Helper()
	list, _ := d.cli("", "doctor").json["checks"].([]any)
	for _, c := range list {
		if m := c.(map[string]any); m["code"] == code {
			return m
		}
	}
	return nil
}

// TestFleetByToken: a computer with a token in its credential store enrolls,
// proves itself, and reports, and nobody touches it.
func TestFleetByToken(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	emulator, maker := testenv.StartManufacturedTPM(t)
	root := filepath.Join(t.TempDir(), "maker.der")
	if err := os.WriteFile(root, maker.Issuer.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s.command("", "attestation", "root", "add", root).ok(t)
	d := newDeviceWith(t, emulator)
	d.fleet(s, s.machineToken(1).text("token"), `name = "laptop-17"`)
	d.start()
	m := d.waitMachine("enrolled")
	d.waitReported()
	list := s.machines()
	if len(list) != 1 {
		t.Fatalf("the operator sees %v", list)
	}
	line := list[0]
	if line["id"] != m["id"] || line["name"] != "laptop-17" || line["state"] != "active" || line["attested"] != true || line["endorsement"] != "certificate" {
		t.Errorf("the operator sees %v of %v", line, m)
	}
	shown := s.command("", "machine", "show", m["id"].(string), "--json").ok(t)
	report, _ := shown.json["report"].(map[string]any)
	for _, member := range []string{"agent", "os", "kernel", "checks", "counts"} {
		if report[member] == nil {
			t.Errorf("the report has no %s: %s", member, shown.stdout)
		}
	}
	if c := d.check("machine"); c["status"] != "ok" {
		t.Errorf("doctor says %v", c)
	}

	// A user on top: the report changes by itself, and says no names.
	d.enroll(s.link())
	testenv.Eventually(t, "the user to be counted", func() bool { return s.machines()[0]["users"] == 1.0 })
	text := s.command("", "machine", "show", m["id"].(string), "--json").ok(t).stdout
	for _, name := range []string{"alice", d.profile().ID, d.profile().Device} {
		if strings.Contains(text, name) {
			t.Errorf("%q is in what the computer reported: %s", name, text)
		}
	}
	// The machine's certificate is good for no device's routes, nor the other way.
	d.restartsEnrolled(s, m["id"].(string))
}

// restartsEnrolled demands that a restart neither enrolls again nor spends a use.
func (d *device) restartsEnrolled(s *server, id string) {
	d.tb.Helper()
	d.proc.stop()
	d.start()
	d.waitReported()
	if list := s.machines(); len(list) != 1 || list[0]["id"] != id {
		d.tb.Errorf("after a restart the operator sees %v", list)
	}
}

// TestFleetByEndorsementKey: registered by what tpm2_createek says of the TPM,
// which is what the manual tells.
func TestFleetByEndorsementKey(t *testing.T) {
	testenv.Need(t, "tpm2_createek")
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	ek := d.endorsementKey("ecc")
	d.fleet(s, "")
	d.start()
	m := d.waitMachine("unregistered")
	if c := d.check("machine"); c["status"] != "fail" || !strings.Contains(c["cure"].(string), "machine add --ek sha256:") {
		t.Errorf("doctor says %v", c)
	}
	keys, _ := m["endorsement_keys"].([]any)
	if len(keys) != 2 || keys[0] != ek {
		t.Errorf("doctor names the keys %v, tpm2_createek %s", keys, ek)
	}
	// The other kind is registered, from a list as a spreadsheet writes it.
	s.command("ek,name\n\""+keys[1].(string)+"\",\"Front desk\"\n", "machine", "add", "--list", "-", "--json").ok(t)
	if list := s.machines(); len(list) != 1 || list[0]["state"] != "awaited" || list[0]["name"] != "Front desk" {
		t.Errorf("the operator sees %v", list)
	}
	d.proc.stop()
	d.start()
	m = d.waitMachine("enrolled")
	if m["endorsement"] != "registered" {
		t.Errorf("enrolled as %v", m)
	}
	d.waitReported()

	// Revoked, it is out at once and stays out; registered again, it is back.
	id := m["id"].(string)
	s.command("", "machine", "revoke", id, "--json").ok(t)
	d.proc.stop()
	d.start()
	d.waitMachine("unregistered")
	s.command("", "machine", "add", "--ek", keys[1].(string)).ok(t)
	d.proc.stop()
	d.start()
	if m = d.waitMachine("enrolled"); m["id"] != id {
		t.Errorf("it was %s and is %v", id, m)
	}
}

// endorsementKey is the name of an endorsement key as other tools compute it.
func (d *device) endorsementKey(kind string) string {
	d.tb.Helper()
	file := filepath.Join(d.dir, "ek.der")
	cmd := exec.Command("tpm2_createek", "-G", kind, "-c", filepath.Join(d.dir, "ek.ctx"), "-u", file, "-f", "der")
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+d.tpm.Socket())
	if out, err := cmd.CombinedOutput(); err != nil {
		d.tb.Fatalf("tpm2_createek: %v: %s", err, out)
	}
	der, err := os.ReadFile(file)
	if err != nil {
		d.tb.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// TestFleetTokens: a token that is good for nothing is told once, and another one
// is taken up.
func TestFleetTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	used := s.machineToken(1)
	first := newDevice(t)
	first.fleet(s, used.text("token"))
	first.start()
	first.waitMachine("enrolled")
	d := newDevice(t)
	d.fleet(s, used.text("token"))
	d.start()
	d.waitMachine("token_refused")
	revoked := s.machineToken(1)
	s.command("", "machine", "token", "revoke", revoked.text("id"), "--json").ok(t)
	for _, token := range []string{revoked.text("token"), "no-such-token"} {
		d.proc.stop()
		d.credential(token)
		d.start()
		d.waitMachine("token_refused")
	}
	// It knows that from before, and does not ask again.
	asked := strings.Count(s.log.String(), "/device/v1/machines ")
	d.proc.stop()
	d.start()
	d.waitMachine("token_refused")
	if again := strings.Count(s.log.String(), "/device/v1/machines "); again != asked {
		t.Errorf("a refused token was sent again: %d, then %d refusals", asked, again)
	}
	if strings.Contains(d.log.String(), revoked.text("token")) || strings.Contains(d.cli("", "doctor").stdout, revoked.text("token")) {
		t.Error("the token is told")
	}
	d.holdsNoToken(revoked.text("token"))
	d.proc.stop()
	d.credential(s.machineToken(1).text("token"))
	d.start()
	d.waitMachine("enrolled")
	d.proc.stop()
	if err := os.RemoveAll(filepath.Join(d.dir, "credentials")); err != nil {
		t.Fatal(err)
	}
	d.start() // the token has done its work
	d.waitReported()
}

// holdsNoToken demands that the state directory has no token: it is good for other
// computers too.
func (d *device) holdsNoToken(token string) {
	d.tb.Helper()
	err := filepath.WalkDir(d.state(), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(data), token) || strings.Contains(string(data), base64.StdEncoding.EncodeToString([]byte(token)))) {
			d.tb.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		d.tb.Fatal(err)
	}
}

// TestFleetInAnotherComputer: the disk of an enrolled computer in another one, with
// another TPM, is another machine, and one that has lost its TPM's content is the
// same.
func TestFleetInAnotherComputer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.machineToken(2).text("token")
	d := newDevice(t)
	d.fleet(s, token)
	d.start()
	id := d.waitMachine("enrolled")["id"]
	d.waitReported()
	d.proc.stop()
	clone := newDevice(t)
	clone.fleet(s, token)
	if err := os.CopyFS(clone.state(), os.DirFS(d.state())); err != nil {
		t.Fatal(err)
	}
	clone.start()
	testenv.Eventually(t, "the clone to enroll as itself", func() bool {
		m := clone.machine()
		return m["state"] == "enrolled" && m["id"] != id && m["reported_at"] != nil
	})
	// The original is as it was.
	d.start()
	d.waitReported()
	if m := d.machine(); m["id"] != id {
		t.Errorf("it was %v and is %v", id, m)
	}
	if list := s.machines(); len(list) != 2 {
		t.Errorf("the operator sees %v", list)
	}
	// A cleared TPM has the same endorsement key.
	d.proc.stop()
	d.clearTPM()
	d.start()
	testenv.Eventually(t, "the cleared computer to be back", func() bool {
		m := d.machine()
		return m["state"] == "enrolled" && m["id"] == id && m["reported_at"] != nil
	})
}

// clearTPM does what the firmware's setup does: every key of the owner is gone.
func (d *device) clearTPM() {
	d.tb.Helper()
	raw := d.tpm.Dial()
	defer raw.Close()
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(raw); err != nil {
		d.tb.Fatal(err)
	}
}

// TestFleetWaits: a computer that starts before its server, or before its TPM,
// waits and goes on by itself.
func TestFleetWaits(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.machineToken(1).text("token")
	d := newDevice(t)
	d.fleet(s, token)
	s.proc.stop()
	d.start()
	d.waitMachine("waiting_network")
	if c := d.check("machine"); c["status"] != "warn" {
		t.Errorf("doctor says %v", c)
	}
	s.again()
	d.waitMachine("enrolled")

	late := newDevice(t)
	late.fleet(s, s.machineToken(1).text("token"))
	late.tpm.Kill()
	late.start()
	late.waitMachine("waiting_tpm")
	late.tpm.Start()
	late.waitMachine("enrolled")
}
