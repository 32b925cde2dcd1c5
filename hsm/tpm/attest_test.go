package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// challengeFor is challengeBy for the endorsement key that a claim begins with.
func challengeFor(t *testing.T, claim hsm.Claim, akName, secret []byte) hsm.Challenge {
	t.Helper()
	leaf, err := x509.ParseCertificate(claim.Endorsement[0])
	if err != nil {
		t.Fatal(err)
	}
	return challengeBy(t, leaf.RawSubjectPublicKeyInfo, akName, secret)
}

// attested is a manufactured chip with both keys of an enrollment.
type attested struct {
	chip     *testenv.SWTPM
	provider *tpm.Provider
	keys     []hsm.Key
}

func newAttested(t *testing.T, spec func(*testenv.SWTPM) string) *attested {
	t.Helper()
	chip, _ := testenv.StartManufacturedTPM(t)
	a := &attested{chip: chip, provider: provider(t, spec(chip))}
	for _, pinText := range []string{"", rightPIN} {
		a.keys = append(a.keys, mustCreate(t, a.provider, bound(pinText)))
	}
	return a
}

func (a *attested) claim(t *testing.T) hsm.Claim {
	t.Helper()
	claim, err := a.provider.Claim(t.Context(), a.keys)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

func akName(claim hsm.Claim) []byte {
	sum := sha256.Sum256(claim.AK)
	return append([]byte{0, 0x0b}, sum[:]...)
}

func secretOf(b byte) []byte { return bytes.Repeat([]byte{b, 0x5a}, 16) }

// What an interposer sees of an attestation: not the secret that shows whether
// the chip has opened its credential, and no session without salt.
func TestWireCarriesNoAttestationSecret(t *testing.T) {
	var rec *testenv.TPMRecorder
	a := newAttested(t, func(s *testenv.SWTPM) string { rec = testenv.RecordTPM(t, s); return rec.Spec() })
	claim := a.claim(t)
	secret := secretOf(1)
	proof, err := a.provider.Prove(t.Context(), claim, challengeFor(t, claim, akName(claim), secret), a.keys, hsm.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(proof.Secret, secret) || len(proof.Keys) != 2 {
		t.Fatalf("proof %+v", proof)
	}
	if rec.Count(tpm2.TPMCCActivateCredential) != 1 || !rec.Contains(claim.AK) {
		t.Error("the recorder has missed the attestation")
	}
	if rec.Contains(secret) {
		t.Error("the secret crossed the wire")
	}
	if rec.Contains(guess(rightPIN)) {
		t.Error("the auth value of the PIN crossed the wire")
	}
	allSalted(t, rec)
}

// After a crash the stored claim is answered by another process, and the chip
// holds no more than before, however often it is asked.
func TestClaimSurvivesACrash(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	claim := a.claim(t)
	var references [][]byte
	for _, k := range a.keys {
		references = append(references, k.Reference())
	}
	if err := a.provider.Close(); err != nil {
		t.Fatal(err)
	}
	a.chip.Restart()
	before := a.chip.Dial()
	indices := len(before.Indices())
	before.Close()
	p := provider(t, a.chip.Spec())
	for i, reference := range references {
		a.keys[i] = mustOpen(t, p, reference)
	}
	challenge := challengeFor(t, claim, akName(claim), secretOf(2))
	for range 3 {
		proof, err := p.Prove(t.Context(), claim, challenge, a.keys, hsm.Auth{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(proof.Secret, secretOf(2)) {
			t.Errorf("another secret: % x", proof.Secret)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	raw := a.chip.Dial()
	if left := raw.Loaded(); len(left) != 0 {
		t.Errorf("left in the chip: %x", left)
	}
	if got := len(raw.Indices()); got != indices {
		t.Errorf("%d indices, there were %d", got, indices)
	}
}

// An attestation spends no try, and works on a key whose tries are all spent.
func TestAttestationSpendsNoTry(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	for _, want := range []int{4, 3, 2, 1, 0} {
		claim := a.claim(t)
		if _, err := a.provider.Prove(t.Context(), claim, challengeFor(t, claim, akName(claim), secretOf(3)), a.keys, auth(wrongPIN)); err != nil {
			t.Fatal(err)
		}
		var pe *hsm.PINError
		if _, err := a.keys[1].Sign(t.Context(), digest(), auth(wrongPIN)); !errors.As(err, &pe) || pe.TriesLeft != want {
			t.Errorf("a wrong PIN after an attestation: %v, want %d tries left", err, want)
		}
	}
}

// Two claims have nothing in common but the chip's certificate, which only the
// server of each sees.
func TestClaimsAreUnlinkable(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	one, two := a.claim(t), a.claim(t)
	if bytes.Equal(one.AK, two.AK) || bytes.Equal(one.Resume, two.Resume) {
		t.Error("two claims by one attestation key")
	}
}

func TestProveRefuses(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	claim := a.claim(t)
	good := challengeFor(t, claim, akName(claim), secretOf(4))
	otherAK := a.claim(t)
	elsewhere := newAttested(t, (*testenv.SWTPM).Spec)
	for name, tt := range map[string]struct {
		change func(*hsm.Claim, *hsm.Challenge, *[]hsm.Key)
		want   error // nil: any
	}{
		"credential for another attestation key": {func(_ *hsm.Claim, ch *hsm.Challenge, _ *[]hsm.Key) {
			*ch = challengeFor(t, claim, akName(otherAK), secretOf(4))
		}, tpm2.TPMRCIntegrity},
		"credential changed":         {func(_ *hsm.Claim, ch *hsm.Challenge, _ *[]hsm.Key) { ch.Credential[10] ^= 1 }, tpm2.TPMRCIntegrity},
		"seed changed":               {func(_ *hsm.Claim, ch *hsm.Challenge, _ *[]hsm.Key) { ch.Secret[10] ^= 1 }, nil},
		"seed of nothing":            {func(_ *hsm.Claim, ch *hsm.Challenge, _ *[]hsm.Key) { ch.Secret = nil }, nil},
		"attestation key of another": {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.AK = otherAK.AK }, hsm.ErrForeignKey},
		"resumed from another":       {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.Resume = otherAK.Resume }, hsm.ErrForeignKey},
		"resumed from nothing":       {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.Resume = nil }, hsm.ErrBadReference},
		"a token's claim":            {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.Format = hsm.FormatPIV }, hsm.ErrBadReference},
		"no certificate":             {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.Endorsement = nil }, hsm.ErrBadReference},
		"garbage for a certificate":  {func(c *hsm.Claim, _ *hsm.Challenge, _ *[]hsm.Key) { c.Endorsement = [][]byte{{1}} }, hsm.ErrBadReference},
		"no keys":                    {func(_ *hsm.Claim, _ *hsm.Challenge, k *[]hsm.Key) { *k = nil }, nil},
		"keys of another provider":   {func(_ *hsm.Claim, _ *hsm.Challenge, k *[]hsm.Key) { *k = elsewhere.keys }, hsm.ErrForeignKey},
	} {
		t.Run(name, func(t *testing.T) {
			c, keys := claim, a.keys
			ch := hsm.Challenge{Nonce: good.Nonce, Credential: bytes.Clone(good.Credential), Secret: bytes.Clone(good.Secret)}
			tt.change(&c, &ch, &keys)
			proof, err := a.provider.Prove(t.Context(), c, ch, keys, hsm.Auth{})
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("proved with %v, want %v", err, tt.want)
			}
			if len(proof.Secret) != 0 || len(proof.Keys) != 0 {
				t.Error("an error with a proof")
			}
		})
	}
	if _, err := a.provider.Prove(t.Context(), claim, good, a.keys, hsm.Auth{}); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// A claim made on one chip is not answered by another, nor after a TPM2_Clear
// of the endorsement hierarchy's seed: here by a chip that was never made.
func TestClaimOfAnotherChip(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	claim := a.claim(t)
	other := provider(t, testenv.StartSWTPM(t).Spec())
	key := mustCreate(t, other, bound(""))
	challenge := challengeFor(t, claim, akName(claim), secretOf(5))
	if _, err := other.Prove(t.Context(), claim, challenge, []hsm.Key{key}, hsm.Auth{}); !errors.Is(err, hsm.ErrForeignKey) {
		t.Errorf("proved by another chip: %v", err)
	}
	if _, err := other.Claim(t.Context(), []hsm.Key{key}); !errors.Is(err, hsm.ErrNoAttestation) {
		t.Errorf("a chip without certificate claims: %v", err)
	}
}

// An endorsement password that a fleet has set stops attestation, with words.
func TestEndorsementPassword(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	if err := a.provider.Close(); err != nil {
		t.Fatal(err)
	}
	setEndorsementPassword(t, a.chip)
	p := provider(t, a.chip.Spec())
	key := mustOpen(t, p, a.keys[0].Reference())
	if _, err := p.Claim(t.Context(), []hsm.Key{key}); !errors.Is(err, hsm.ErrNoAttestation) {
		t.Errorf("claimed with %v, want %v", err, hsm.ErrNoAttestation)
	}
}

// A certificate whose key is not in the chip is no certificate of it.
func TestCertificateOfAnotherChip(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	storeIndex(t, raw, 0x01c00002, a.claim(t).Endorsement[0])
	raw.Close()
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(""))
	if _, err := p.Claim(t.Context(), []hsm.Key{key}); !errors.Is(err, hsm.ErrNoAttestation) {
		t.Errorf("claimed with %v, want %v", err, hsm.ErrNoAttestation)
	}
}

// An index that holds something else than a certificate is passed over.
func TestGarbageForACertificate(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	raw := chip.Dial()
	storeIndex(t, raw, 0x01c0000a, []byte("this is no certificate"))
	raw.Close()
	p := provider(t, chip.Spec())
	key := mustCreate(t, p, bound(""))
	if _, err := p.Claim(t.Context(), []hsm.Key{key}); !errors.Is(err, hsm.ErrNoAttestation) {
		t.Errorf("claimed with %v, want %v", err, hsm.ErrNoAttestation)
	}
}

// A key of before the creation data was kept works on and cannot be attested.
func TestOldReferencesAreNotAttested(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	for _, key := range a.keys {
		old, err := tpm.AsVersion1(key.Reference())
		if err != nil {
			t.Fatal(err)
		}
		keys := []hsm.Key{mustOpen(t, a.provider, old)}
		if _, err := a.provider.Claim(t.Context(), keys); !errors.Is(err, hsm.ErrNoAttestation) {
			t.Errorf("claimed with %v, want %v", err, hsm.ErrNoAttestation)
		}
	}
}

// What a signature leaves in the chip makes way: its three places are all taken
// by the credential.
func TestAttestationBetweenSignatures(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	for range 2 {
		mustSign(t, a.keys[0], "")
		mustSign(t, a.keys[1], rightPIN)
		claim := a.claim(t)
		mustSign(t, a.keys[1], rightPIN)
		if _, err := a.provider.Prove(t.Context(), claim, challengeFor(t, claim, akName(claim), secretOf(6)), a.keys, hsm.Auth{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Certifying an index takes the owner's password where one is set. It never
// crosses the wire.
func TestAttestationWithOwnerPassword(t *testing.T) {
	a := newAttested(t, (*testenv.SWTPM).Spec)
	if err := a.provider.Close(); err != nil {
		t.Fatal(err)
	}
	raw := a.chip.Dial()
	setOwnerPassword(t, raw)
	raw.Close()
	for name, tt := range map[string]struct {
		options []tpm.Option
		want    error
	}{
		"given":     {[]tpm.Option{giving(ownerPassword)}, nil},
		"not given": {nil, hsm.ErrAdminRequired},
		"wrong":     {[]tpm.Option{giving("another")}, hsm.ErrAdminRequired},
	} {
		t.Run(name, func(t *testing.T) {
			rec := testenv.RecordTPM(t, a.chip)
			p := provider(t, rec.Spec(), tt.options...)
			keys := []hsm.Key{mustOpen(t, p, a.keys[0].Reference()), mustOpen(t, p, a.keys[1].Reference())}
			claim, err := p.Claim(t.Context(), keys)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Prove(t.Context(), claim, challengeFor(t, claim, akName(claim), secretOf(8)), keys, hsm.Auth{})
			if !errors.Is(err, tt.want) {
				t.Errorf("proved with %v, want %v", err, tt.want)
			}
			if _, err := p.Prove(t.Context(), claim, challengeFor(t, claim, akName(claim), secretOf(8)), keys[:1], hsm.Auth{}); err != nil {
				t.Errorf("the device key, which has no index: %v", err)
			}
			if rec.Contains([]byte(ownerPassword)) {
				t.Error("the owner's password crossed the wire")
			}
			allSalted(t, rec)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
