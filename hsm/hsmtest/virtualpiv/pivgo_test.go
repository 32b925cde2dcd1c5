//go:build cgo

package virtualpiv_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"countersign/hsm/hsmtest/virtualpiv"

	"github.com/go-piv/piv-go/v2/piv"
)

func TestPIVGoKnowsTheCard(t *testing.T) {
	for version, want := range map[string]piv.Version{
		"4.3.5": {Major: 4, Minor: 3, Patch: 5}, // serial number in another application
		"5.2.7": {Major: 5, Minor: 2, Patch: 7}, // no metadata
		"5.4.3": {Major: 5, Minor: 4, Patch: 3},
		"5.7.1": {Major: 5, Minor: 7, Patch: 1},
	} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, virtualpiv.WithFirmware(version), virtualpiv.WithSerial(7654321))
			yk := r.open()
			if got := yk.Version(); got != want {
				t.Errorf("version %v", got)
			}
			if serial, err := yk.Serial(); err != nil || serial != 7654321 {
				t.Errorf("serial number %d, %v", serial, err)
			}
			if form, err := yk.FormFactor(); err != nil || form != piv.FormfactorUSBAKeychain {
				t.Errorf("form factor %v, %v", form, err)
			}
			generate(t, yk, piv.SlotSignature, keyOf(piv.PINPolicyAlways))
		})
	}
}

func generate(t *testing.T, yk *piv.YubiKey, slot piv.Slot, key piv.Key) crypto.PublicKey {
	t.Helper()
	pub, err := yk.GenerateKey(piv.DefaultManagementKey, slot, key)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func TestPIVGoGeneratesAttestsAndSigns(t *testing.T) {
	retired, _ := piv.RetiredKeyManagementSlot(0x82)
	algorithms := map[string]struct {
		slot      piv.Slot
		algorithm piv.Algorithm
	}{
		"P-256":    {retired, piv.AlgorithmEC256},
		"P-384":    {piv.SlotAuthentication, piv.AlgorithmEC384},
		"RSA-2048": {piv.SlotSignature, piv.AlgorithmRSA2048},
	}
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		for name, a := range algorithms {
			t.Run(name, func(t *testing.T) {
				key := piv.Key{Algorithm: a.algorithm, PINPolicy: piv.PINPolicyAlways, TouchPolicy: piv.TouchPolicyCached}
				pub := generate(t, yk, a.slot, key)
				checkAttestation(t, r.card, yk, a.slot, key, pub)
				checkKeyInfo(t, yk, a.slot, key, pub)
				priv, err := yk.PrivateKey(a.slot, pub, piv.KeyAuth{PIN: piv.DefaultPIN})
				if err != nil {
					t.Fatal(err)
				}
				checkSignature(t, priv.(crypto.Signer))
			})
		}
	})
}

func checkAttestation(t *testing.T, card *virtualpiv.Card, yk *piv.YubiKey, slot piv.Slot, key piv.Key, pub crypto.PublicKey) {
	t.Helper()
	leaf, err := yk.Attest(slot)
	if err != nil {
		t.Fatal(err)
	}
	intermediate, err := yk.AttestationCertificate()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(card.Root())
	got, err := (&piv.Verifier{Roots: roots}).Verify(intermediate, leaf)
	if err != nil {
		t.Fatal(err)
	}
	want := piv.Attestation{
		Version: yk.Version(), Serial: card.Serial(), Formfactor: piv.FormfactorUSBAKeychain,
		PINPolicy: key.PINPolicy, TouchPolicy: key.TouchPolicy, Slot: slot,
	}
	if *got != want {
		t.Errorf("attested %+v, want %+v", *got, want)
	}
	if !leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
		t.Error("another key is attested")
	}
	if _, err := piv.Verify(intermediate, leaf); err == nil {
		t.Error("the real vendor's roots accept a virtual card")
	}
}

func checkKeyInfo(t *testing.T, yk *piv.YubiKey, slot piv.Slot, key piv.Key, pub crypto.PublicKey) {
	t.Helper()
	info, err := yk.KeyInfo(slot)
	if err != nil {
		t.Fatal(err)
	}
	if info.Algorithm != key.Algorithm || info.PINPolicy != key.PINPolicy || info.TouchPolicy != key.TouchPolicy || info.Origin != piv.OriginGenerated {
		t.Errorf("metadata says %+v", info)
	}
	if !info.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
		t.Error("metadata has another key")
	}
}

func checkSignature(t *testing.T, priv crypto.Signer) {
	t.Helper()
	digest := sha256.Sum256([]byte("pay 10 euros"))
	signature, err := priv.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	valid := false
	switch pub := priv.Public().(type) {
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(pub, digest[:], signature)
	case *rsa.PublicKey:
		valid = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], signature) == nil
	}
	if !valid {
		t.Error("the signature is wrong")
	}
}

// TestPIVGoIsAskedForThePIN counts the PINs that reach the card in three
// signatures.
func TestPIVGoIsAskedForThePIN(t *testing.T) {
	want := map[piv.PINPolicy]int{piv.PINPolicyNever: 0, piv.PINPolicyOnce: 1, piv.PINPolicyAlways: 3}
	eachFirmware(t, func(t *testing.T, r *rig) {
		for policy, pins := range want {
			yk := r.open()
			pub := generate(t, yk, piv.SlotAuthentication, keyOf(policy))
			r.card.ClearLog()
			priv, err := yk.PrivateKey(piv.SlotAuthentication, pub, piv.KeyAuth{PIN: piv.DefaultPIN})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				checkSignature(t, priv.(crypto.Signer))
			}
			if got := r.card.PINsSent(); got != pins {
				t.Errorf("policy %v: %d PINs for three signatures, want %d", policy, got, pins)
			}
			_ = yk.Close()
		}
	})
}

// touched makes a key that takes no PIN, and a touch as the policy has it.
func touched(t *testing.T, yk *piv.YubiKey, policy piv.TouchPolicy) crypto.Signer {
	t.Helper()
	key := keyOf(piv.PINPolicyNever)
	key.TouchPolicy = policy
	priv, err := yk.PrivateKey(piv.SlotSignature, generate(t, yk, piv.SlotSignature, key), piv.KeyAuth{})
	if err != nil {
		t.Fatal(err)
	}
	return priv.(crypto.Signer)
}

func TestPIVGoWaitsForTheTouch(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		signer := touched(t, yk, piv.TouchPolicyAlways)
		r.card.TouchAfter(50 * time.Millisecond)
		start := time.Now()
		checkSignature(t, signer)
		if waited := time.Since(start); waited < 50*time.Millisecond {
			t.Errorf("signed after %s, before the touch", waited)
		}
		checkSignature(t, signer)
		if n := r.card.TouchesAwaited(); n != 2 {
			t.Errorf("two signatures took %d touches", n)
		}
	})
}

func TestPIVGoGetsNoTouch(t *testing.T) {
	r := newRig(t, virtualpiv.WithTouchTimeout(20*time.Millisecond))
	yk := r.open()
	signer := touched(t, yk, piv.TouchPolicyCached)
	r.card.TouchNever()
	if _, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
		t.Fatal("signed without a touch")
	}
	r.card.TouchAfter(0)
	checkSignature(t, signer)
	r.card.TouchNever() // the touch before still serves
	checkSignature(t, signer)
}

// TestPulledWhileItWaitsForTheTouch must not wait for the card's time.
func TestPulledWhileItWaitsForTheTouch(t *testing.T) {
	r := newRig(t)
	yk := r.open()
	signer := touched(t, yk, piv.TouchPolicyAlways)
	r.card.SetTouch(func(ctx context.Context) bool {
		go r.pcscd.Reader(0).Pull()
		<-ctx.Done()
		return false
	})
	start := time.Now()
	if _, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
		t.Fatal("signed without a card")
	}
	if waited := time.Since(start); waited > 5*time.Second {
		t.Errorf("that took %s", waited)
	}
}

func TestPIVGoStoresCertificates(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		if _, err := yk.Certificate(piv.SlotAuthentication); !errors.Is(err, piv.ErrNotFound) {
			t.Errorf("an empty slot: %v", err)
		}
		pub := generate(t, yk, piv.SlotAuthentication, keyOf(piv.PINPolicyOnce))
		cert := certify(t, pub)
		if err := yk.SetCertificate(piv.DefaultManagementKey, piv.SlotAuthentication, cert); err != nil {
			t.Fatal(err)
		}
		got, err := yk.Certificate(piv.SlotAuthentication)
		if err != nil || !got.Equal(cert) {
			t.Errorf("got another certificate, or %v", err)
		}
	})
}

func TestPIVGoKeepsTheManagementKeyBehindThePIN(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		secret := make([]byte, 24)
		_, _ = rand.Read(secret)
		if err := yk.SetManagementKey(piv.DefaultManagementKey, secret); err != nil {
			t.Fatal(err)
		}
		if err := yk.SetMetadata(secret, &piv.Metadata{ManagementKey: &secret}); err != nil {
			t.Fatal(err)
		}
		if _, err := yk.Metadata("999999"); err == nil {
			t.Error("a wrong PIN opens the metadata")
		}
		got, err := yk.Metadata(piv.DefaultPIN)
		if err != nil || got.ManagementKey == nil || !bytes.Equal(*got.ManagementKey, secret) {
			t.Errorf("got %+v, %v", got, err)
		}
		if err := yk.SetMetadata(piv.DefaultManagementKey, got); err == nil {
			t.Error("the old management key still manages")
		}
	})
}

func TestPIVGoSetsManagementKeysOfEachLength(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		old := piv.DefaultManagementKey
		for _, size := range []int{16, 24, 32} {
			next := bytes.Repeat([]byte{byte(size)}, size)
			if err := yk.SetManagementKey(old, next); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			old = next
		}
		if _, err := yk.GenerateKey(old, piv.SlotSignature, keyOf(piv.PINPolicyOnce)); err != nil {
			t.Error(err)
		}
	})
}

func TestPIVGoChangesPINAndPUK(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		if err := yk.SetPIN(piv.DefaultPIN, "271828"); err != nil {
			t.Fatal(err)
		}
		if err := yk.SetPUK(piv.DefaultPUK, "31415926"); err != nil {
			t.Fatal(err)
		}
		if err := yk.VerifyPIN("271828"); err != nil {
			t.Error(err)
		}
		wantTries(t, yk.VerifyPIN(piv.DefaultPIN), 2)
		wantTries(t, yk.Unblock(piv.DefaultPUK, "111111"), 2)
		if pin, puk := r.card.PINTriesLeft(), r.card.PUKTriesLeft(); pin != 2 || puk != 2 {
			t.Errorf("the card counts %d and %d", pin, puk)
		}
	})
}

func wantTries(t *testing.T, err error, want int) {
	t.Helper()
	var refused piv.AuthErr
	if !errors.As(err, &refused) || refused.Retries != want {
		t.Errorf("got %v, want a refusal with %d tries left", err, want)
	}
}

func TestPIVGoBlocksAndUnblocks(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		for left := 2; left >= 0; left-- {
			wantTries(t, yk.VerifyPIN("999999"), left)
		}
		wantTries(t, yk.VerifyPIN(piv.DefaultPIN), 0)
		if left, err := yk.Retries(); err != nil || left != 0 {
			t.Errorf("%d tries left, %v", left, err)
		}
		if err := yk.Unblock(piv.DefaultPUK, "271828"); err != nil {
			t.Fatal(err)
		}
		if err := yk.VerifyPIN("271828"); err != nil {
			t.Error(err)
		}
	})
}

func TestPIVGoSetsRetriesAndResets(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		generate(t, yk, piv.SlotSignature, keyOf(piv.PINPolicyOnce))
		if err := yk.SetRetries(piv.DefaultManagementKey, piv.DefaultPIN, 5, 7); err != nil {
			t.Fatal(err)
		}
		if pin, puk := r.card.PINTriesLeft(), r.card.PUKTriesLeft(); pin != 5 || puk != 7 {
			t.Errorf("the card counts %d and %d", pin, puk)
		}
		if err := yk.Reset(); err != nil {
			t.Fatal(err)
		}
		if pin := r.card.PINTriesLeft(); pin != 3 || r.card.PublicKey(virtualpiv.Signature) != nil {
			t.Errorf("after the reset: %d tries, key %v", pin, r.card.PublicKey(virtualpiv.Signature))
		}
		generate(t, yk, piv.SlotSignature, keyOf(piv.PINPolicyOnce))
	})
}

func TestPIVGoImportsKeys(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		yk := r.open()
		ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		for _, own := range []crypto.Signer{ec, rsaKey} {
			if err := yk.SetPrivateKeyInsecure(piv.DefaultManagementKey, piv.SlotSignature, own, keyOf(piv.PINPolicyOnce)); err != nil {
				t.Fatal(err)
			}
			priv, err := yk.PrivateKey(piv.SlotSignature, own.Public(), piv.KeyAuth{PIN: piv.DefaultPIN, PINPolicy: piv.PINPolicyOnce})
			if err != nil {
				t.Fatal(err)
			}
			checkSignature(t, priv.(crypto.Signer))
			if _, err := yk.Attest(piv.SlotSignature); !errors.Is(err, piv.ErrNotFound) {
				t.Errorf("an imported key is attested: %v", err)
			}
			if info, err := yk.KeyInfo(piv.SlotSignature); err != nil || info.Origin != piv.OriginImported {
				t.Errorf("metadata says %+v, %v", info, err)
			}
		}
	})
}

func TestPIVGoAgreesOnSecrets(t *testing.T) {
	r := newRig(t)
	yk := r.open()
	pub := generate(t, yk, piv.SlotKeyManagement, keyOf(piv.PINPolicyNever)).(*ecdsa.PublicKey)
	priv, err := yk.PrivateKey(piv.SlotKeyManagement, pub, piv.KeyAuth{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got, err := priv.(*piv.ECDSAPrivateKey).ECDH(peer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	cards, err := pub.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	want, err := peer.ECDH(cards)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the two sides do not agree: %v", err)
	}
}

func TestPersonalizedCardIsNobodyElses(t *testing.T) {
	eachFirmware(t, func(t *testing.T, r *rig) {
		management := bytes.Repeat([]byte{7, 9}, 12)
		r.card.Personalize(t, "271828", "31415926", management)
		yk := r.open()
		if err := yk.VerifyPIN("271828"); err != nil {
			t.Error(err)
		}
		if _, err := yk.GenerateKey(piv.DefaultManagementKey, piv.SlotSignature, keyOf(piv.PINPolicyOnce)); err == nil {
			t.Error("the factory's management key manages")
		}
		if _, err := yk.GenerateKey(management, piv.SlotSignature, keyOf(piv.PINPolicyOnce)); err != nil {
			t.Error(err)
		}
		if err := yk.Unblock("31415926", "161803"); err != nil {
			t.Error(err)
		}
	})
}

func TestCardsOfOneVendorHaveOneRoot(t *testing.T) {
	ca := virtualpiv.NewCA(t)
	r := newRig(t, virtualpiv.WithCA(ca))
	other := virtualpiv.New(t, virtualpiv.WithCA(ca))
	stranger := virtualpiv.New(t)
	if !r.card.Root().Equal(other.Root()) || !r.card.Root().Equal(ca.Root()) {
		t.Error("two cards of one vendor have two roots")
	}
	yk := r.open()
	intermediate, err := yk.AttestationCertificate()
	if err != nil {
		t.Fatal(err)
	}
	generate(t, yk, piv.SlotSignature, keyOf(piv.PINPolicyOnce))
	leaf, err := yk.Attest(piv.SlotSignature)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(stranger.Root())
	if _, err := (&piv.Verifier{Roots: roots}).Verify(intermediate, leaf); err == nil {
		t.Error("another vendor's root accepts the card")
	}
}
