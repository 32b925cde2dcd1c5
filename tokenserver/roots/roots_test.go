package roots_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"countersign/tokenserver/attest/attesttest"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/roots"
)

func TestParse(t *testing.T) {
	a, b := attesttest.Root(t, "a", nil), attesttest.Root(t, "b", nil)
	below := a.CA(t, "below", nil)
	noUsage := attesttest.Root(t, "no usage", func(c *x509.Certificate) { c.KeyUsage = 0 })
	for name, c := range map[string]struct {
		file []byte
		want []*attesttest.CA
	}{
		"PEM":           {a.PEM(), []*attesttest.CA{a}},
		"DER":           {a.Raw, []*attesttest.CA{a}},
		"several":       {slices.Concat(a.PEM(), b.PEM()), []*attesttest.CA{a, b}},
		"text around":   {slices.Concat([]byte("The roots of Maker\n"), a.PEM(), []byte("and\n"), b.PEM(), []byte("end\n")), []*attesttest.CA{a, b}},
		"below another": {below.PEM(), []*attesttest.CA{below}},
		"no key usage":  {noUsage.PEM(), []*attesttest.CA{noUsage}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := roots.Parse(c.file, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			same := func(r roots.Root, want *attesttest.CA) bool { return bytes.Equal(r.Certificate.Raw, want.Raw) }
			if !slices.EqualFunc(got, c.want, same) {
				t.Errorf("got %d certificates, or others", len(got))
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	ca := attesttest.Root(t, "a", nil)
	text := ca.PEM()
	no := func(change attesttest.Change) []byte { return attesttest.Root(t, "no", change).PEM() }
	for name, file := range map[string][]byte{
		"nothing":         nil,
		"text":            []byte("no certificate"),
		"a leaf":          no(func(c *x509.Certificate) { c.IsCA = false }),
		"no constraints":  no(func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }),
		"may not issue":   no(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }),
		"expired":         no(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"one of two":      slices.Concat(text, no(func(c *x509.Certificate) { c.IsCA = false })),
		"a key beside it": slices.Concat(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})),
		"cut off":         slices.Concat(text, text[:len(text)/2]),
		"another's bytes": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"DER and more":    append(slices.Clone(ca.Raw), 0),
		"too large":       bytes.Repeat(text, 3000),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := roots.Parse(file, time.Now()); problem.From(err).Code != problem.BadRoot {
				t.Errorf("taken, or refused as %v", err)
			}
		})
	}
}

func TestDir(t *testing.T) {
	dir := roots.Dir(filepath.Join(t.TempDir(), "new", "roots"))
	list := func() []roots.Root {
		t.Helper()
		got, err := dir.List()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if len(list()) != 0 {
		t.Error("a directory that is not there has roots")
	}
	ca := attesttest.Root(t, "a", nil)
	found, err := roots.Parse(ca.PEM(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := dir.Add(found[0]); err != nil {
			t.Fatal(err)
		}
	}
	// A fleet may bring files of its own: under any name, with what is there
	// already, and expired ones too.
	old := attesttest.Root(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, file := range map[string][]byte{"fleet.pem": slices.Concat(ca.PEM(), old.PEM()), ".hidden": []byte("x")} {
		if err := os.WriteFile(filepath.Join(string(dir), name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 2 || got[0].Fingerprint != found[0].Fingerprint {
		t.Errorf("listed %d roots", len(got))
	}
	if pool, err := roots.Pool(dir, roots.Dir(t.TempDir())); err != nil || len(pool.Subjects()) != 2 { //nolint:staticcheck // not of the system
		t.Errorf("the pool: %v", err)
	}
	for _, name := range []string{"", "..", "../x", "fleet", found[0].Fingerprint[2:]} {
		if err := dir.Remove(name); problem.From(err).Code != problem.RootUnknown {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(string(dir), "fleet.pem")); err != nil {
		t.Fatal(err)
	}
	if err := dir.Remove(found[0].Fingerprint); err != nil || len(list()) != 0 {
		t.Errorf("removed, and %d are left: %v", len(list()), err)
	}
	if err := dir.Remove(found[0].Fingerprint); problem.From(err).Code != problem.RootUnknown {
		t.Errorf("removed again: %v", err)
	}
}
