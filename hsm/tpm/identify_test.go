package tpm_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

func identify(t *testing.T, p *tpm.Provider) string {
	t.Helper()
	id, err := p.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// The name of a chip is its own, and outlives restarts and TPM2_Clear, which no
// key does.
func TestIdentityOutlivesClear(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	before := identify(t, p)
	key := mustCreate(t, p, bound(rightPIN)) // what is held makes room
	mustSign(t, key, rightPIN)
	if got := identify(t, p); got != before {
		t.Errorf("with a key the chip is %s, want %s", got, before)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	chip.Restart()
	raw := chip.Dial()
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	if got := identify(t, provider(t, chip.Spec())); got != before {
		t.Errorf("after TPM2_Clear the chip is %s, want %s", got, before)
	}
	if other := identify(t, provider(t, testenv.StartSWTPM(t).Spec())); other == before {
		t.Error("two chips have one name")
	}
}

// Where the maker left a certificate the name is that of the certified key, and
// nothing has to be derived.
func TestIdentityIsTheCertifiedKey(t *testing.T) {
	chip, _ := testenv.StartManufacturedTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	got := identify(t, p)
	if n := rec.Count(tpm2.TPMCCCreatePrimary); n != 0 {
		t.Errorf("%d keys were derived", n)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	rsp, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81010001)}.Execute(chip.Dial())
	if err != nil {
		t.Fatal(err)
	}
	area, err := rsp.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(der); got != hex.EncodeToString(sum[:]) {
		t.Errorf("the chip is %s, its endorsement key %x", got, sum)
	}
}

// Who administers the machine may remove the certificate; the key itself, still
// at its handle, gives the same name.
func TestIdentityWithoutCertificate(t *testing.T) {
	chip, _ := testenv.StartManufacturedTPM(t)
	p := provider(t, chip.Spec())
	before := identify(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	raw := chip.Dial()
	const certificate tpm2.TPMHandle = 0x01c00002
	rsp, err := tpm2.NVReadPublic{NVIndex: certificate}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: certificate, Name: rsp.NVName},
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw.Close()
	if got := identify(t, provider(t, chip.Spec())); got != before {
		t.Errorf("without its certificate the chip is %s, want %s", got, before)
	}
}
