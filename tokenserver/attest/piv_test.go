package attest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
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

// isRefusalCode knows the two codes of a refusal: a chain that was damaged may seem
// to be of an unknown maker.
func isRefusalCode(code string) bool {
	return code == protocol.ProblemAttestation || code == protocol.ProblemMaker
}

// wantRefusal fails the test unless err is the refusal of an attestation.
func wantRefusal(tb testing.TB, err error) {
	tb.Helper()
	if p := problem.From(err); err == nil || !isRefusalCode(p.Code) || p.Detail == "" {
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
