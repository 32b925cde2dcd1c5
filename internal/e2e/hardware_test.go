package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"
	"countersign/protocol"
)

// trust has the server trust the maker of a chip.
func (s *server) trust(root *x509.Certificate) {
	s.tb.Helper()
	file := filepath.Join(s.tb.TempDir(), "maker.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), 0o600); err != nil {
		s.tb.Fatal(err)
	}
	s.command("", "attestation", "root", "add", file).ok(s.tb)
}

// factoryDevice is a computer with a TPM whose maker the server trusts.
func factoryDevice(t *testing.T, s *server) *device {
	t.Helper()
	tpm, maker := testenv.StartManufacturedTPM(t)
	s.trust(maker.Issuer)
	return newDeviceWith(t, tpm)
}

// admin is the management key of the tests' tokens.
func admin() []byte { return bytes.Repeat([]byte{7, 11, 13, 17, 19, 23}, 4) }

// tokenSecrets are what enroll reads for a token.
func tokenSecrets() string { return pin + "\n" + hex.EncodeToString(admin()) + "\n" }

// tokenWorld is a server, and a device with a TPM and a token.
func tokenWorld(t *testing.T) (*server, *device, *virtualpiv.Card) {
	t.Helper()
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	card := d.insert(s, virtualpiv.WithFirmware("5.7.1"))
	d.start()
	return s, d, card
}

// insert gives the device a token that its owner has taken into use.
func (d *device) insert(s *server, options ...virtualpiv.Option) *virtualpiv.Card {
	d.tb.Helper()
	card := virtualpiv.New(d.tb, options...)
	card.Personalize(d.tb, pin, "48151623", admin())
	card.TouchAfter(10 * time.Millisecond)
	s.trust(card.Root())
	d.pcscd = testenv.StartPCSCD(d.tb, card)
	return card
}

// enrollToken enrolls with the approval key on the token.
func (d *device) enrollToken(s *server, flags ...string) answer {
	d.tb.Helper()
	return d.cli(tokenSecrets(), append([]string{"enroll", s.link(), "--key", "piv", "--pin-stdin"}, flags...)...).ok(d.tb)
}

// approved begins a transaction of a type, approves it, and returns what the
// decision and the receipt in its evidence say.
func (d *device) approved(p *portal, kind string) (protocol.UV, protocol.Verdict) {
	d.tb.Helper()
	tx := p.begin(kind)
	d.waitFor(tx.ID)
	d.approve(tx).ok(d.tb)
	done := p.get(tx.ID)
	p.verified(done)
	var decision protocol.Decision
	var receipt protocol.Receipt
	payload(d.tb, done.Evidence.Decision, &decision)
	payload(d.tb, done.Evidence.Receipt, &receipt)
	return decision.UV, receipt.Attestation
}

// TestTPMIsAttested: from enrollment to evidence that says attested, PIN-bound,
// and by which chip; for both algorithms.
func TestTPMIsAttested(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := factoryDevice(t, s)
	d.start()
	for _, algorithm := range []string{"ES256", "RS256"} {
		a := d.cli(pin+"\n", "enroll", s.link(), "--algorithm", algorithm, "--pin-stdin").ok(t)
		key, _ := a.json["key"].(map[string]any)
		if key["attested"] != true || key["pin_counter"] != "index" || key["provider"] != "tpm" || key["chip"] == "" {
			t.Fatalf("enroll says %s", a.stdout)
		}
		uv, v := d.approved(newPortal(t, s), "login")
		if uv.Method != protocol.UVPIN || !v.Attested || !v.PINBound || v.Format != "tpm2" || v.PINCounter != "index" || v.Chip.Vendor == "" {
			t.Errorf("%s: the evidence says %+v, %+v", algorithm, uv, v)
		}
		s.command("", "device", "revoke", a.text("device")).ok(t)
		testenv.Eventually(t, "the revocation to arrive", func() bool { return d.cli("", "enrolled", a.text("profile")).status == 3 })
		d.cli("", "keys", "delete", a.text("profile")).ok(t)
	}
	if n := d.count("keys"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// TestUnknownMakerIsRecorded: a server that does not know the maker of the chip
// takes nothing of what it says for proved, and the person is told.
func TestUnknownMakerIsRecorded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	tpm, _ := testenv.StartManufacturedTPM(t)
	d := newDeviceWith(t, tpm)
	d.start()
	a := d.cli(pin+"\n", "enroll", s.link(), "--pin-stdin").ok(t)
	key, _ := a.json["key"].(map[string]any)
	if why, _ := key["unattested"].(string); key["attested"] != false || !strings.Contains(why, "does not know the maker") {
		t.Errorf("enroll says %s", a.stdout)
	}
	if a := d.cli("", "doctor"); !strings.Contains(a.stdout, "no_attestation") {
		t.Errorf("doctor says %s", a.stdout)
	}
	if _, v := d.approved(newPortal(t, s), "login"); v.Attested || v.PINBound || v.Format != protocol.AttestationNone {
		t.Errorf("the receipt says %+v", v)
	}
}

// TestTokenBesideATPM: the approval key on the token, the device key in the
// TPM, both attested; requests arrive without the token, and a touch counts.
func TestTokenBesideATPM(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := factoryDevice(t, s)
	card := d.insert(s, virtualpiv.WithFirmware("5.7.1"))
	d.start()
	a := d.enrollToken(s)
	key, _ := a.json["key"].(map[string]any)
	if key["provider"] != "piv" || key["device_provider"] != "tpm" || key["attested"] != true || key["touch"] != true || key["pin_counter"] != "token" {
		t.Fatalf("enroll says %s", a.stdout)
	}
	const slot82 = 0x5fc10d // SP 800-73-4, part 1, table 3
	if !bytes.Contains(card.Object(slot82), d.profile().ApprovalChain[0]) {
		t.Error("the slot does not hold the certificate that the server issued")
	}
	s.command("", "type", "set", "vault", "--method", "push_with_pin", "--class", "C3", "--require", "attested,pin-bound,touch-bound").ok(t)
	p := newPortal(t, s)
	uv, v := d.approved(p, "vault")
	if uv.Method != protocol.UVTouch || uv.Class != protocol.C3 || !v.Attested || !v.PINBound || !v.TouchBound || v.Format != "piv" || v.PINCounter != "token" || v.Chip.Firmware != "5.7.1" {
		t.Errorf("the evidence says %+v, %+v", uv, v)
	}
	d.pcscd.Reader(0).Remove()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	if a := d.approve(tx).want(t, 1); a.code() != "token_absent" || !d.lists(tx.ID) {
		t.Errorf("without the token: %s", a.stdout)
	}
	d.pcscd.Reader(0).Insert(card)
	testenv.Eventually(t, "the token to be back", func() bool { return d.approve(tx).status == 0 })
	card.TouchNever()
	if tries := card.PINTriesLeft(); tries != 3 {
		t.Errorf("%d PIN tries are left", tries)
	}
}

// TestTokenAlone: without a TPM both keys are on the token, and status says what
// that means.
func TestTokenAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := newDevice(t)
	card := d.insert(s, virtualpiv.WithFirmware("5.4.3"))
	d.config = filepath.Join(t.TempDir(), "countersignd.toml")
	if err := os.WriteFile(d.config, []byte("tpm = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.noTPM = true
	d.start()
	a := d.enrollToken(s, "--no-touch")
	key, _ := a.json["key"].(map[string]any)
	if key["device_provider"] != "piv" || key["attested"] != true || key["touch"] != false {
		t.Fatalf("enroll says %s", a.stdout)
	}
	uv, v := d.approved(newPortal(t, s), "login")
	if uv.Method != protocol.UVPIN || !v.Attested || !v.PINBound || v.TouchBound || v.Advisory == "" {
		t.Errorf("the evidence says %+v, %+v", uv, v)
	}
	if st := d.cli("", "status").ok(t); !strings.Contains(st.stdout, "nothing is received") {
		t.Errorf("status says %s", st.stdout)
	}
	if a := d.cli("", "keys").ok(t); !strings.Contains(a.stdout, "slot") {
		t.Errorf("keys says %s", a.stdout)
	}
	s.command("", "device", "revoke", a.text("device")).ok(t)
	testenv.Eventually(t, "the revocation to arrive", func() bool { return d.cli("", "enrolled", a.text("profile")).status == 3 })
	if a := d.cli("", "keys", "delete", a.text("profile")).want(t, 1); a.code() != "admin_required" && a.code() != "pin_required" {
		t.Errorf("without the token's secrets: %s", a.stdout)
	}
	d.cli(tokenSecrets(), "keys", "delete", a.text("profile"), "--pin-stdin").ok(t)
	if n := d.count("keys"); n != 0 || card.PINTriesLeft() != 3 {
		t.Errorf("%d keys and %d PIN tries are left", n, card.PINTriesLeft())
	}
}

// TestTokenKeepsItsManagementKey: with the owner's consent, and from then on its
// PIN is enough.
func TestTokenKeepsItsManagementKey(t *testing.T) {
	s, d, _ := tokenWorld(t)
	d.enrollToken(s, "--keep-admin")
	a := d.cli(pin+"\n", "enroll", s.link(), "--key", "piv", "--no-touch", "--pin-stdin").ok(t)
	s.command("", "device", "revoke", a.text("device")).ok(t)
	testenv.Eventually(t, "the revocation to arrive", func() bool { return d.cli("", "enrolled", a.text("profile")).status == 3 })
	d.cli(pin+"\n", "keys", "delete", a.text("profile"), "--pin-stdin").ok(t)
	if n := d.count("keys"); n != 2 {
		t.Errorf("%d keys are left, want 2", n)
	}
}

// TestTokenRefusals: each in its own words, and nothing is left behind.
func TestTokenRefusals(t *testing.T) {
	s, d, _ := tokenWorld(t)
	link := s.link()
	a := d.cli(pin+"\n", "enroll", link, "--key", "piv", "--pin-stdin").want(t, 1)
	if a.code() != "admin_required" {
		t.Errorf("without the management key: %s", a.stdout)
	}
	if a := d.cli("000000\n", "enroll", link, "--key", "piv", "--pin-stdin").want(t, 1); a.code() != "wrong_pin" && a.code() != "admin_required" {
		t.Errorf("with a wrong PIN: %s", a.stdout)
	}
	if a := d.cli("too long for it\n", "enroll", link, "--key", "piv", "--pin-stdin").want(t, 1); a.code() != "bad_pin" {
		t.Errorf("with what is no PIN of a token: %s", a.stdout)
	}
	if a := d.cli(tokenSecrets(), "enroll", link, "--key", "piv", "--algorithm", "RS256", "--pin-stdin").want(t, 1); a.code() != "key_unsupported" {
		t.Errorf("with another algorithm: %s", a.stdout)
	}
	if n := d.count("keys"); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	d.proc.stop()
	d.pcscd = testenv.StartPCSCD(t, virtualpiv.New(t)) // nobody has taken it into use
	d.start()
	if a := d.cli("123456\n", "enroll", link, "--key", "piv", "--pin-stdin").want(t, 1); a.code() != "factory_settings" || !strings.Contains(a.stdout, "ykman") {
		t.Errorf("with the factory's settings: %s", a.stdout)
	}
}

// TestTPMBesideATokenProvesNothing: the token still does, key by key.
func TestTPMBesideATokenProvesNothing(t *testing.T) {
	s, d, _ := tokenWorld(t)
	d.enrollToken(s)
	p := newPortal(t, s)
	if _, v := d.approved(p, "login"); !v.Attested || v.Format != "piv" {
		t.Errorf("the approval key is %+v", v)
	}
	if _, v := d.approved(p, "confirm"); v.Attested {
		t.Errorf("the device key is %+v", v)
	}
}

// TestClearedTPMIsNamed, in doctor, in status and where somebody decides; and
// the two commands that doctor gives are the way back.
func TestClearedTPMIsNamed(t *testing.T) {
	s, d, p := world(t)
	old := d.profile()
	tx := p.begin("login")
	d.waitFor(tx.ID)
	d.proc.kill()
	d.tpm.Kill()
	if err := os.RemoveAll(d.tpm.StateDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.tpm.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	d.tpm.Start() // as after a new mainboard: another TPM
	d.start()
	a := d.cli("", "doctor").want(t, 1)
	for _, says := range []string{"chip_replaced", "countersign-server enrollment create --user alice --replace " + old.Device, "countersign enroll LINK"} {
		if !strings.Contains(a.stdout, says) {
			t.Errorf("doctor does not say %q: %s", says, a.stdout)
		}
	}
	if st := d.cli("", "status").ok(t); !strings.Contains(st.stdout, "cleared or replaced") {
		t.Errorf("status says %s", st.stdout)
	}
	if a := d.cli("", "enrolled", old.ID, "--check").want(t, 1); a.code() != "foreign_key" {
		t.Errorf("a check says %s", a.stdout)
	}
	d.enroll(s.link("--replace", old.Device))
	d.cli("", "keys", "delete", old.ID).ok(t)
	d.approved(p, "login")
}
