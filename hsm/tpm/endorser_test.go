package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"countersign/hsm"
	"countersign/internal/testenv"
)

// The endorsement keys are those that other tools derive, and nothing stays in the
// chip.
func TestEndorsementsAreThoseOfOtherTools(t *testing.T) {
	testenv.Need(t, "tpm2_createek")
	chip := testenv.StartSWTPM(t)
	p := provider(t, chip.Spec())
	list, err := p.Endorsements(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%d endorsement keys, %v", len(list), err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for i, kind := range []string{"ecc", "rsa"} {
		file := filepath.Join(t.TempDir(), "ek.der")
		run(t, chip, nil, "tpm2_createek", "-G", kind, "-c", filepath.Join(t.TempDir(), "ctx"), "-u", file, "-f", "der")
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, list[i].Key); diff != "" || len(list[i].Chain) != 0 {
			t.Errorf("the %s key is another, or certified by nobody: %s", kind, diff)
		}
		run(t, chip, nil, "tpm2_flushcontext", "-t")
	}
	raw := chip.Dial()
	defer raw.Close()
	if left := raw.Loaded(); len(left) != 0 {
		t.Errorf("the chip still holds %x", left)
	}
}

// The key that a maker certified comes first, with its chain.
func TestCertifiedEndorsementComesFirst(t *testing.T) {
	chip, maker := testenv.StartManufacturedTPM(t)
	list, err := provider(t, chip.Spec()).Endorsements(t.Context())
	if err != nil || len(list) != 2 || len(list[0].Chain) == 0 || len(list[1].Chain) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	leaf, err := x509.ParseCertificate(list[0].Chain[0])
	if err != nil || string(leaf.RawSubjectPublicKeyInfo) != string(list[0].Key) || leaf.CheckSignatureFrom(maker.Issuer) != nil {
		t.Errorf("the first key's certificate is another's: %v", err)
	}
}

// A claim by either key is answered, with and without a certificate, and not by
// another chip.
func TestClaimByEachEndorsement(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	p, other := provider(t, chip.Spec()), provider(t, testenv.StartSWTPM(t).Spec())
	keys := []hsm.Key{mustCreate(t, p, bound(""))}
	list, err := p.Endorsements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, by := range list {
		claim, err := p.ClaimBy(t.Context(), keys, by)
		if err != nil {
			t.Fatal(err)
		}
		secret := secretOf(byte(i))
		challenge := challengeBy(t, by.Key, akName(claim), secret)
		proof, err := p.Prove(t.Context(), claim, challenge, keys, hsm.Auth{})
		if err != nil || string(proof.Secret) != string(secret) || len(proof.Keys) != 1 {
			t.Errorf("key %d: %+v, %v", i, proof, err)
		}
		foreign := []hsm.Key{mustCreate(t, other, bound(""))}
		if _, err := other.Prove(t.Context(), claim, challenge, foreign, hsm.Auth{}); !errors.Is(err, hsm.ErrForeignKey) {
			t.Errorf("key %d: proved by another chip: %v", i, err)
		}
	}
	if _, err := p.ClaimBy(t.Context(), nil, list[0]); err == nil {
		t.Error("a claim of nothing")
	}
}

func setEndorsementPassword(t *testing.T, chip *testenv.SWTPM) {
	t.Helper()
	raw := chip.Dial()
	defer raw.Close()
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("fleet")},
	}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
}

// An endorsement password keeps everybody from the keys, with words.
func TestEndorsementsBehindAPassword(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	setEndorsementPassword(t, chip)
	if list, err := provider(t, chip.Spec()).Endorsements(t.Context()); !errors.Is(err, hsm.ErrNoAttestation) {
		t.Errorf("%d keys, %v", len(list), err)
	}
}

// challengeBy makes a credential as a server does, for an endorsement key of either
// template.
func challengeBy(t *testing.T, spki, akName, secret []byte) hsm.Challenge {
	t.Helper()
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	area := tpm2.RSAEKTemplate
	switch key := key.(type) {
	case *rsa.PublicKey:
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.FillBytes(make([]byte, 256))})
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		area = tpm2.ECCEKTemplate
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
		})
	}
	seal, err := tpm2.ImportEncapsulationKey(&area)
	if err != nil {
		t.Fatal(err)
	}
	blob, seed, err := tpm2.CreateCredential(rand.Reader, seal, akName, secret)
	if err != nil {
		t.Fatal(err)
	}
	return hsm.Challenge{Nonce: bytes.Repeat([]byte{7}, 32), Credential: blob, Secret: seed}
}
