package attest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/attest/attesttest"
)

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
