package attest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/problem"
)

// Policies of slots, as the firmware writes them.
const (
	never, once, always          = 1, 2, 3
	touchNever, touched, touch15 = 1, 2, 3
)

// desk is a token with two keys and a server that trusts its maker. A test
// changes what it likes before it calls verify.
type desk struct {
	tb               testing.TB
	root             *attesttest.CA
	token            *attesttest.Token
	device, approval crypto.Signer
	trust            attest.Trust
	c                attest.PIVCase
}

func newDesk(tb testing.TB) *desk {
	tb.Helper()
	root := attesttest.Root(tb, "Yubico PIV Root CA Serial 263751", nil)
	d := &desk{
		tb: tb, root: root, token: attesttest.NewToken(tb, root, nil),
		device: attesttest.Key(tb), approval: attesttest.Key(tb),
	}
	d.trust = trusting(root)
	d.c.Nonce = make([]byte, 32)
	_, _ = rand.Read(d.c.Nonce)
	d.attest()
	return d
}

func trusting(roots ...*attesttest.CA) attest.Trust {
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r.Certificate)
	}
	return attest.Trust{Roots: pool, Now: time.Now()}
}

// attest makes everything anew of the desk's token and keys.
func (d *desk) attest() {
	d.tb.Helper()
	d.c.Keys = attest.Keys{Device: d.device.Public(), Approval: d.approval.Public()}
	d.c.Start.Device = d.slot(d.token, d.device, never, touchNever, nil)
	d.c.Start.Approval = d.slot(d.token, d.approval, always, touchNever, nil)
	d.c.Proof.Device = attesttest.Sign(d.tb, d.device, d.c.Nonce)
	d.c.Proof.Approval = attesttest.Sign(d.tb, d.approval, d.c.Nonce)
}

// slot is what a token sends of a key.
func (d *desk) slot(t *attesttest.Token, key crypto.Signer, pin, touch byte, change attesttest.Change) []protocol.Blob {
	d.tb.Helper()
	return []protocol.Blob{t.Slot(d.tb, key.Public(), pin, touch, change), t.Raw}
}

func (d *desk) policy(pin, touch byte) {
	d.c.Start.Approval = d.slot(d.token, d.approval, pin, touch, nil)
}

func (d *desk) verify() (attest.Findings, error) { return attest.VerifyPIV(d.trust, d.c) }

func (d *desk) want(want attest.Findings) {
	d.tb.Helper()
	got, err := d.verify()
	if err != nil {
		d.tb.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.tb.Error(diff)
	}
}

// wantRefusal fails the test unless err is the refusal of an attestation.
func wantRefusal(tb testing.TB, err error) {
	tb.Helper()
	if p := problem.From(err); err == nil || p.Code != protocol.ProblemAttestation || p.Detail == "" {
		tb.Errorf("not refused, but %v", err)
	}
}

func finding(touch bool) *attest.Finding {
	return &attest.Finding{
		Format: "piv", PINBound: true, TouchBound: touch, PINCounter: protocol.PINCounterToken, Advisory: "CVE-2024-45678",
		Chip: protocol.Chip{Vendor: "Yubico", Model: "YubiKey USB-A Keychain", Firmware: "5.4.3"},
	}
}

func deviceFinding() *attest.Finding {
	f := finding(false)
	f.PINBound, f.PINCounter = false, ""
	return f
}

func TestPIVFindings(t *testing.T) {
	t.Run("PIN", func(t *testing.T) {
		newDesk(t).want(attest.Findings{Device: deviceFinding(), Approval: finding(false)})
	})
	t.Run("PIN and touch", func(t *testing.T) {
		d := newDesk(t)
		d.policy(always, touched)
		d.want(attest.Findings{Device: deviceFinding(), Approval: finding(true)})
	})
	t.Run("device key elsewhere", func(t *testing.T) {
		d := newDesk(t)
		d.c.Keys.Device, d.c.Start.Device, d.c.Proof.Device = nil, nil, nil
		d.want(attest.Findings{Approval: finding(false)})
	})
	t.Run("RSA", func(t *testing.T) {
		d := newDesk(t)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		d.approval = key
		d.attest()
		d.want(attest.Findings{Device: deviceFinding(), Approval: finding(false)})
	})
}

func TestPIVChip(t *testing.T) {
	for name, c := range map[string]struct {
		firmware []byte
		form     byte
		want     protocol.Chip
		advisory string
	}{
		"last with the weakness": {[]byte{5, 6, 255}, 2, protocol.Chip{Model: "YubiKey USB-A Nano", Firmware: "5.6.255"}, "CVE-2024-45678"},
		"first without":          {[]byte{5, 7, 0}, 3, protocol.Chip{Model: "YubiKey USB-C Keychain", Firmware: "5.7.0"}, ""},
		"numbers, not text":      {[]byte{5, 10, 0}, 4, protocol.Chip{Model: "YubiKey USB-C Nano", Firmware: "5.10.0"}, ""},
		"Bio, still with it":     {[]byte{5, 7, 1}, 6, protocol.Chip{Model: "YubiKey USB-A Bio", Firmware: "5.7.1"}, "CVE-2024-45678"},
		"Bio, without":           {[]byte{5, 7, 2}, 7, protocol.Chip{Model: "YubiKey USB-C Bio", Firmware: "5.7.2"}, ""},
		"FIPS":                   {[]byte{6, 0, 0}, 0x85, protocol.Chip{Model: "YubiKey USB-C/Lightning Keychain FIPS", Firmware: "6.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.token.Firmware, d.token.Form = c.firmware, []byte{c.form}
			d.attest()
			device, approval := deviceFinding(), finding(false)
			c.want.Vendor = "Yubico"
			device.Chip, approval.Chip, device.Advisory, approval.Advisory = c.want, c.want, c.advisory, c.advisory
			d.want(attest.Findings{Device: device, Approval: approval})
		})
	}
}

func TestPIVChains(t *testing.T) {
	t.Run("two between the token and the root", func(t *testing.T) {
		d := newDesk(t)
		upper := d.root.CA(t, "Yubico Attestation Intermediate B 1", nil)
		lower := upper.CA(t, "Yubico PIV Attestation B 1", nil)
		d.token = attesttest.NewToken(t, lower, nil)
		d.attest()
		for _, chain := range []*[]protocol.Blob{&d.c.Start.Device, &d.c.Start.Approval} {
			*chain = append(*chain, lower.Raw, upper.Raw)
		}
		d.want(attest.Findings{Device: deviceFinding(), Approval: finding(false)})
	})
	t.Run("the one above the token is trusted", func(t *testing.T) {
		d := newDesk(t)
		lower := d.root.CA(t, "Yubico PIV Attestation B 1", nil)
		d.token, d.trust = attesttest.NewToken(t, lower, nil), trusting(lower)
		d.attest()
		d.want(attest.Findings{Device: deviceFinding(), Approval: finding(false)})
	})
	t.Run("an old token does not say that it may issue", func(t *testing.T) {
		d := newDesk(t)
		d.token = attesttest.NewToken(t, d.root, silent)
		d.attest()
		d.want(attest.Findings{Device: deviceFinding(), Approval: finding(false)})
	})
}

// silent takes from a certificate what says that it is a CA's.
func silent(c *x509.Certificate) {
	c.BasicConstraintsValid, c.IsCA, c.MaxPathLenZero = false, false, false
}

// TestPIVOfAYubiKey reads what a real token with firmware 5.4.3 sent. The
// certificates are those that piv-go publishes in its tests.
func TestPIVOfAYubiKey(t *testing.T) {
	data, err := os.ReadFile("testdata/yubikey-5.4.3.pem")
	if err != nil {
		t.Fatal(err)
	}
	var chain []protocol.Blob
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	root, err := x509.ParseCertificate(chain[2])
	if err != nil {
		t.Fatal(err)
	}
	got, err := attest.ReadPIV(trusting(&attesttest.CA{Certificate: root}), chain[:2])
	want := attest.Finding{
		Format: "piv", Advisory: "CVE-2024-45678",
		Chip: protocol.Chip{Vendor: "Yubico", Model: "YubiKey USB-C Nano", Firmware: "5.4.3"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestPIVRefused(t *testing.T) {
	for name, spoil := range map[string]func(d *desk){
		"approval key: PIN never":    func(d *desk) { d.policy(never, touchNever) },
		"approval key: PIN once":     func(d *desk) { d.policy(once, touchNever) },
		"approval key: match always": func(d *desk) { d.policy(5, touchNever) },
		"approval key: touch cached": func(d *desk) { d.policy(always, touch15) },
		"approval key: touch 0":      func(d *desk) { d.policy(always, 0) },
		"device key: PIN always":     func(d *desk) { d.c.Start.Device = d.slot(d.token, d.device, always, touchNever, nil) },
		"device key: touch always":   func(d *desk) { d.c.Start.Device = d.slot(d.token, d.device, never, touched, nil) },

		"two serial numbers": func(d *desk) { d.other(func(t *attesttest.Token) { t.Serial = 1 }) },
		"two firmwares":      func(d *desk) { d.other(func(t *attesttest.Token) { t.Firmware = []byte{5, 4, 4} }) },
		"two form factors":   func(d *desk) { d.other(func(t *attesttest.Token) { t.Form = []byte{2} }) },
		"two tokens": func(d *desk) {
			d.token = attesttest.NewToken(d.tb, d.root, nil)
			d.c.Start.Device = d.slot(d.token, d.device, never, touchNever, nil)
		},
		"serial number 0":          func(d *desk) { d.token.Serial = 0; d.attest() },
		"serial number -1":         func(d *desk) { d.token.Serial = -1; d.attest() },
		"serial number of 33 bits": func(d *desk) { d.token.Serial = 1 << 32; d.attest() },
		"serial number a string":   func(d *desk) { d.token.Serial = "7"; d.attest() },
		"firmware of 2 numbers":    func(d *desk) { d.token.Firmware = []byte{5, 4}; d.attest() },
		"firmware of 4 numbers":    func(d *desk) { d.token.Firmware = []byte{5, 4, 3, 0}; d.attest() },
		"form factor 0":            func(d *desk) { d.token.Form = []byte{0}; d.attest() },
		"form factor unknown":      func(d *desk) { d.token.Form = []byte{8}; d.attest() },
		"form factor of 2 bytes":   func(d *desk) { d.token.Form = []byte{1, 1}; d.attest() },

		"keys swapped":             func(d *desk) { d.c.Start.Device, d.c.Start.Approval = d.c.Start.Approval, d.c.Start.Device },
		"signatures swapped":       func(d *desk) { d.c.Proof.Device, d.c.Proof.Approval = d.c.Proof.Approval, d.c.Proof.Device },
		"another approval key":     func(d *desk) { d.c.Keys.Approval = attesttest.Key(d.tb).Public() },
		"another device key":       func(d *desk) { d.c.Keys.Device = attesttest.Key(d.tb).Public() },
		"no approval key":          func(d *desk) { d.c.Keys.Approval = nil },
		"another nonce":            func(d *desk) { d.c.Nonce = make([]byte, 32) },
		"nonce without the label":  func(d *desk) { d.c.Proof.Approval = d.bare(d.c.Nonce) },
		"no signature":             func(d *desk) { d.c.Proof.Approval = nil },
		"no attestation":           func(d *desk) { d.c.Start.Approval = nil },
		"device key not attested":  func(d *desk) { d.c.Start.Device = nil },
		"device key did not sign":  func(d *desk) { d.c.Proof.Device = nil },
		"a device key unasked for": func(d *desk) { d.c.Keys.Device = nil },
		"its attestation alone":    func(d *desk) { d.c.Keys.Device, d.c.Proof.Device = nil, nil },
		"its signature alone":      func(d *desk) { d.c.Keys.Device, d.c.Start.Device = nil, nil },

		"no root":                     func(d *desk) { d.trust.Roots = nil },
		"another root":                func(d *desk) { d.trust = trusting(attesttest.Root(d.tb, "Yubico PIV Root CA Serial 263751", nil)) },
		"the slot alone":              func(d *desk) { d.c.Start.Approval = d.c.Start.Approval[:1] },
		"the root is sent":            func(d *desk) { d.c.Start.Approval = append(d.c.Start.Approval, d.root.Raw) },
		"an extra certificate":        func(d *desk) { d.c.Start.Approval = append(d.c.Start.Approval, attesttest.Root(d.tb, "x", nil).Raw) },
		"a certificate twice":         func(d *desk) { d.c.Start.Approval = append(d.c.Start.Approval, d.token.Raw) },
		"not in order":                func(d *desk) { c := d.c.Start.Approval; c[0], c[1] = c[1], c[0] },
		"five certificates":           func(d *desk) { d.c.Start.Approval = append(d.c.Start.Approval, d.token.Raw, d.token.Raw, d.token.Raw) },
		"no certificate":              func(d *desk) { d.c.Start.Approval[1] = protocol.Blob("x") },
		"something behind it":         func(d *desk) { d.c.Start.Approval[0] = append(d.c.Start.Approval[0], 0) },
		"expired":                     func(d *desk) { d.trust.Now = time.Now().Add(48 * time.Hour) },
		"not valid yet":               func(d *desk) { d.trust.Now = time.Now().Add(-48 * time.Hour) },
		"the slot is a CA":            func(d *desk) { d.spoil(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }) },
		"unknown critical extension":  func(d *desk) { d.spoil(critical) },
		"the token is no CA":          func(d *desk) { d.reissue(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }) },
		"the token may sign no certs": func(d *desk) { d.reissue(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }) },
		"the token expired":           func(d *desk) { d.reissue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }) },
		"silent, not by its looks": func(d *desk) {
			d.reissue(func(c *x509.Certificate) { silent(c); c.Subject.CommonName = "Mail server" })
		},
		"silent, without firmware":  func(d *desk) { d.reissue(func(c *x509.Certificate) { silent(c); c.ExtraExtensions = nil }) },
		"silent, below another":     silentBelowAnother,
		"issued by a slot":          issuedBySlot(nil),
		"issued by a slot, as a CA": issuedBySlot(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }),
		"issued by a trusted slot":  issuedByTrustedSlot,
		"root with path length 0":   rootOfLengthZero,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			spoil(d)
			_, err := d.verify()
			wantRefusal(t, err)
		})
	}
}

// TestPIVTrustsNoSystemRoots has the system trust the token's maker, which is
// no reason for the server to.
func TestPIVTrustsNoSystemRoots(t *testing.T) {
	d := newDesk(t)
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, d.root.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	if system, err := x509.SystemCertPool(); err != nil || !system.Equal(d.trust.Roots) {
		t.Skip("this system has roots of its own")
	}
	d.trust.Roots = nil
	_, err := d.verify()
	wantRefusal(t, err)
}

func TestPIVExtensionsRefused(t *testing.T) {
	for arc, name := range map[int]string{3: "firmware", 7: "serial", 8: "policy", 9: "form factor"} {
		for how, change := range map[string]attesttest.Change{
			"missing": func(c *x509.Certificate) {
				kept := c.ExtraExtensions[:0:0]
				for _, e := range c.ExtraExtensions {
					if e.Id[len(e.Id)-1] != arc {
						kept = append(kept, e)
					}
				}
				c.ExtraExtensions = kept
			},
			"empty": func(c *x509.Certificate) {
				for i, e := range c.ExtraExtensions {
					if e.Id[len(e.Id)-1] == arc {
						c.ExtraExtensions[i].Value = nil
					}
				}
			},
			"longer": func(c *x509.Certificate) {
				for i, e := range c.ExtraExtensions {
					if e.Id[len(e.Id)-1] == arc {
						c.ExtraExtensions[i].Value = append(append([]byte{}, e.Value...), 0)
					}
				}
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				d := newDesk(t)
				d.spoil(change)
				_, err := d.verify()
				wantRefusal(t, err)
			})
		}
	}
	t.Run("serial not in its shortest form", func(t *testing.T) {
		d := newDesk(t)
		d.spoil(func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte{2, 2, 0, 7} })
		_, err := d.verify()
		wantRefusal(t, err)
	})
}

// spoil attests the approval key with a changed certificate.
func (d *desk) spoil(change attesttest.Change) {
	d.c.Start.Approval = d.slot(d.token, d.approval, always, touchNever, change)
}

// reissue gives the token another certificate.
func (d *desk) reissue(change attesttest.Change) {
	d.token = attesttest.NewToken(d.tb, d.root, change)
	d.attest()
}

// other attests the device key as the same token would if it were another.
func (d *desk) other(change func(*attesttest.Token)) {
	t := *d.token
	change(&t)
	d.c.Start.Device = d.slot(&t, d.device, never, touchNever, nil)
}

// bare signs without the label that keeps challenges apart from messages.
func (d *desk) bare(nonce []byte) protocol.Blob {
	sig, err := d.approval.Sign(rand.Reader, nonce, crypto.SHA256)
	if err != nil {
		d.tb.Fatal(err)
	}
	return sig
}

func critical(c *x509.Certificate) {
	e := attesttest.Extension(99, []byte{5, 0})
	e.Critical = true
	c.ExtraExtensions = append(c.ExtraExtensions, e)
}

func silentBelowAnother(d *desk) {
	lower := d.root.CA(d.tb, "Yubico PIV Attestation B 1", nil)
	d.token = attesttest.NewToken(d.tb, lower, silent)
	d.attest()
	d.c.Start.Device = append(d.c.Start.Device, lower.Raw)
	d.c.Start.Approval = append(d.c.Start.Approval, lower.Raw)
}

// forge makes attestations that are signed by the key of a slot, of which its
// owner can have anything signed.
func (d *desk) forge(change attesttest.Change) (slot *attesttest.CA) {
	key := attesttest.Key(d.tb)
	der := d.token.Slot(d.tb, key.Public(), never, touchNever, func(c *x509.Certificate) {
		c.Subject.CommonName = "Yubico PIV Attestation"
		if change != nil {
			change(c)
		}
	})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		d.tb.Fatal(err)
	}
	slot = &attesttest.CA{Certificate: cert, Key: key}
	forged := *d.token
	forged.CA = slot
	d.token = &forged
	return slot
}

func issuedBySlot(change attesttest.Change) func(d *desk) {
	return func(d *desk) {
		// A token that sets no limit to the length of the path.
		d.token = attesttest.NewToken(d.tb, d.root, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false })
		own := d.token.Raw
		d.forge(change)
		d.attest()
		d.c.Start.Device = append(d.c.Start.Device, own)
		d.c.Start.Approval = append(d.c.Start.Approval, own)
	}
}

// issuedByTrustedSlot has the operator trust a single token.
func issuedByTrustedSlot(d *desk) {
	d.trust = trusting(d.token.CA)
	d.forge(nil)
	d.attest()
}

// rootOfLengthZero is how Yubico's roots of before 2018 are: they forbid what
// stands below them, and are taken at their word.
func rootOfLengthZero(d *desk) {
	d.root = attesttest.Root(d.tb, "Yubico U2F Root CA Serial 457200631", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	d.trust = trusting(d.root)
	d.reissue(nil)
}

// wire is a captured attestation as it crosses: the body of either step.
func (d *desk) wire() (start, proof []byte) {
	d.tb.Helper()
	start, err := json.Marshal(protocol.StartAttestation{Format: protocol.AttestationPIV, PIV: &d.c.Start})
	if err != nil {
		d.tb.Fatal(err)
	}
	proof, err = json.Marshal(protocol.ProofAttestation{PIV: &d.c.Proof})
	if err != nil {
		d.tb.Fatal(err)
	}
	return start, proof
}

// judge does what the server does with two documents.
func judge(t attest.Trust, keys attest.Keys, nonce, start, proof []byte) (attest.Findings, error) {
	c := attest.Case{Nonce: nonce, Keys: keys, Proof: new(protocol.ProofAttestation)}
	if err := protocol.DecodeStrict(start, &c.Start); err != nil {
		return attest.Findings{}, err
	}
	if err := protocol.DecodeStrict(proof, c.Proof); err != nil {
		return attest.Findings{}, err
	}
	opened, err := attest.Open(t, c.Start)
	if err != nil {
		return attest.Findings{}, err
	}
	c.Secret = opened.Secret
	return attest.Verify(t, c)
}

// TestPIVEveryByteCounts flips each byte of a captured attestation in several
// ways. There is no exception: what one accepts, the other must be.
func TestPIVEveryByteCounts(t *testing.T) {
	d := newDesk(t)
	start, proof := d.wire()
	run := func(start, proof []byte) error {
		_, err := judge(d.trust, d.c.Keys, d.c.Nonce, start, proof)
		return err
	}
	if err := run(start, proof); err != nil {
		t.Fatal(err)
	}
	for i := range start {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
			if run(flipped(start, i, flip), proof) == nil {
				t.Errorf("start: byte %d flipped by %#x is accepted", i, flip)
			}
		}
	}
	for i := range proof {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
			if run(start, flipped(proof, i, flip)) == nil {
				t.Errorf("proof: byte %d flipped by %#x is accepted", i, flip)
			}
		}
	}
}

func flipped(b []byte, i int, by byte) []byte {
	out := append([]byte{}, b...)
	out[i] ^= by
	return out
}

func TestMembersFitTheFormat(t *testing.T) {
	d := newDesk(t)
	piv, noDevice := &d.c.Start, &protocol.PIVStart{Approval: d.c.Start.Approval}
	tpm, proof := &protocol.TPM2Start{}, &protocol.PIVProof{}
	for name, c := range map[string]struct {
		start protocol.StartAttestation
		proof *protocol.ProofAttestation
	}{
		"unknown format":           {protocol.StartAttestation{Format: "x"}, nil},
		"no format":                {protocol.StartAttestation{}, nil},
		"none with a member":       {protocol.StartAttestation{Format: "none", PIV: piv}, nil},
		"none with a proof":        {protocol.StartAttestation{Format: "none"}, &protocol.ProofAttestation{}},
		"none, proven":             {protocol.StartAttestation{Format: "none"}, &protocol.ProofAttestation{PIV: proof}},
		"tpm2 without":             {protocol.StartAttestation{Format: "tpm2"}, &protocol.ProofAttestation{}},
		"tpm2 with a token":        {protocol.StartAttestation{Format: "tpm2", TPM2: tpm, PIV: noDevice}, nil},
		"tpm2 that is a token":     {protocol.StartAttestation{Format: "tpm2", PIV: piv}, &protocol.ProofAttestation{PIV: proof}},
		"piv without":              {protocol.StartAttestation{Format: "piv"}, &protocol.ProofAttestation{}},
		"piv, device key nowhere":  {protocol.StartAttestation{Format: "piv", PIV: noDevice}, &protocol.ProofAttestation{PIV: proof}},
		"piv, device key twice":    {protocol.StartAttestation{Format: "piv", PIV: piv, TPM2: tpm}, nil},
		"piv, empty list":          {protocol.StartAttestation{Format: "piv", PIV: &protocol.PIVStart{Device: []protocol.Blob{}, Approval: piv.Approval}, TPM2: tpm}, nil},
		"proof missing":            {protocol.StartAttestation{Format: "piv", PIV: piv}, nil},
		"proof empty":              {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{}},
		"proof of something else":  {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{TPM2: &protocol.TPM2Proof{}}},
		"proof of something more":  {protocol.StartAttestation{Format: "piv", PIV: piv}, &protocol.ProofAttestation{PIV: proof, TPM2: &protocol.TPM2Proof{}}},
		"the device key unproven":  {protocol.StartAttestation{Format: "piv", PIV: noDevice, TPM2: tpm}, &protocol.ProofAttestation{PIV: proof}},
		"the device key by itself": {protocol.StartAttestation{Format: "piv", PIV: noDevice, TPM2: tpm}, &protocol.ProofAttestation{TPM2: &protocol.TPM2Proof{}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attest.Verify(d.trust, attest.Case{Start: c.start, Proof: c.proof, Nonce: d.c.Nonce, Keys: d.c.Keys})
			wantRefusal(t, err)
		})
	}
}

func TestNoneIsNeverMore(t *testing.T) {
	start := protocol.StartAttestation{Format: protocol.AttestationNone}
	if o, err := attest.Open(attest.Trust{}, start); err != nil || o.Credential != nil || o.Secret != nil {
		t.Errorf("opened as %+v, %v", o, err)
	}
	f, err := attest.Verify(attest.Trust{}, attest.Case{Start: start})
	if err != nil || f.Device != nil || f.Approval != nil {
		t.Errorf("found %+v, %v", f, err)
	}
	facts := protocol.DeviceFacts{Isolation: "service", Chip: protocol.Chip{Vendor: "v", Firmware: "9"}}
	want := protocol.Verdict{Format: "none", Isolation: "service", Chip: facts.Chip}
	if diff := cmp.Diff(want, attest.Verdict(nil, facts)); diff != "" {
		t.Error(diff)
	}
	v := attest.Verdict(finding(true), facts)
	if !v.Attested || !v.PINBound || !v.TouchBound || v.Chip.Vendor != "Yubico" || v.Isolation != "service" || v.Advisory == "" {
		t.Errorf("the verdict is %+v", v)
	}
}

// FuzzPIV looks for a panic, and for another attestation that is taken for the
// captured one. JSON may be written with more spaces; what it says may not
// differ.
func FuzzPIV(f *testing.F) {
	d := newDesk(f)
	start, proof := d.wire()
	f.Add(start, proof)
	f.Add([]byte(`{"format":"piv","piv":{"approval":["AA==","AA=="]}}`), []byte(`{"piv":{"approval":"AA=="}}`))
	f.Fuzz(func(t *testing.T, s, p []byte) {
		if _, err := judge(d.trust, d.c.Keys, d.c.Nonce, s, p); err != nil {
			return
		}
		if again[protocol.StartAttestation](t, s) != string(start) || again[protocol.ProofAttestation](t, p) != string(proof) {
			t.Errorf("accepted:\n%s\n%s", s, p)
		}
	})
}

// again writes a document as we do.
func again[T any](tb testing.TB, document []byte) string {
	tb.Helper()
	var v T
	if err := protocol.DecodeStrict(document, &v); err != nil {
		tb.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}
