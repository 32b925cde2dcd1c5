//go:build cgo

package piv_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest/virtualpiv"

	yubico "github.com/go-piv/piv-go/v2/piv"
)

// What we pass on is what a verifier that is not ours believes, and it says
// what the key was made with.
func TestClaim(t *testing.T) {
	eachFirmware(t, func(t *testing.T, firmware virtualpiv.Option) {
		r := newRig(t, firmware)
		keys := []hsm.Key{r.device(), r.touched()}
		claim, err := r.Claim(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		if claim.Format != hsm.FormatPIV || len(claim.Chains) != len(keys) {
			t.Fatalf("a claim of format %q with %d chains", claim.Format, len(claim.Chains))
		}
		roots := x509.NewCertPool()
		roots.AddCert(r.card.Root())
		for i, want := range []struct {
			pin   yubico.PINPolicy
			touch yubico.TouchPolicy
		}{{yubico.PINPolicyNever, yubico.TouchPolicyNever}, {yubico.PINPolicyAlways, yubico.TouchPolicyAlways}} {
			leaf, issuer := parsed(t, claim.Chains[i])
			says, err := (&yubico.Verifier{Roots: roots}).Verify(issuer, leaf)
			if err != nil {
				t.Fatalf("key %d: %v", i, err)
			}
			if says.Serial != r.card.Serial() || says.PINPolicy != want.pin || says.TouchPolicy != want.touch {
				t.Errorf("key %d: attested as %+v", i, says)
			}
			if !keys[i].Public().(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
				t.Errorf("key %d: another key is attested", i)
			}
		}
	})
}

func parsed(t testing.TB, chain [][]byte) (leaf, issuer *x509.Certificate) {
	t.Helper()
	if len(chain) != 2 {
		t.Fatalf("a chain of %d certificates, want two, without the root", len(chain))
	}
	leaf, err1 := x509.ParseCertificate(chain[0])
	issuer, err2 := x509.ParseCertificate(chain[1])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return leaf, issuer
}

func TestProve(t *testing.T) {
	r := newRig(t)
	keys := []hsm.Key{r.device(), r.approval()}
	nonce := bytes.Repeat([]byte{9}, 32)
	r.card.ClearLog()
	proof, err := r.Prove(t.Context(), hsm.Claim{}, hsm.Challenge{Nonce: nonce}, keys, auth(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	if n := r.card.PINsSent(); n != 1 {
		t.Errorf("the card saw %d PINs, want one, for the one key that takes it", n)
	}
	digest := sha256.Sum256(hsm.PIVChallenge(nonce))
	for i, key := range keys {
		if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], proof.Keys[i].Signature) {
			t.Errorf("key %d has not signed the challenge", i)
		}
	}
	_, err = r.Prove(t.Context(), hsm.Claim{}, hsm.Challenge{Nonce: nonce}, keys, hsm.Auth{})
	mustBe(t, "Prove without the PIN", err, hsm.ErrPINRequired)
	for _, n := range []int{0, 31, 33} {
		if _, err := r.Prove(t.Context(), hsm.Claim{}, hsm.Challenge{Nonce: make([]byte, n)}, keys, auth(rightPIN)); err == nil {
			t.Errorf("signed a nonce of %d bytes", n)
		}
	}
}

// A token without its maker's certificate has nothing to show.
func TestNoAttestation(t *testing.T) {
	r := newRig(t)
	key := r.device()
	r.withToken(func(yk *yubico.YubiKey) error {
		return yk.SetCertificate(rightAdmin(), yubico.Slot{Key: 0xf9, Object: 0x5fff01}, &x509.Certificate{})
	})
	_, err := r.Claim(t.Context(), []hsm.Key{key})
	mustBe(t, "Claim without the maker's certificate", err, hsm.ErrNoAttestation)
}
