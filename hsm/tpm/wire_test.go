package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// What an interposer between program and TPM sees of a PIN's whole life:
// neither the PIN nor what is made from it, and no session that proves
// something without salt.
func TestWireCarriesNoPIN(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	const other = "a PIN so long that it cannot be there by chance"
	for _, pinText := range []string{rightPIN, other} {
		key, err := p.Create(t.Context(), bound(pinText))
		if err != nil {
			t.Fatal(err)
		}
		mustSign(t, key, pinText)
		if _, err := key.Sign(t.Context(), digest(), auth(wrongPIN)); !errors.Is(err, hsm.ErrWrongPIN) {
			t.Fatal(err)
		}
		if err := key.Delete(t.Context(), hsm.Auth{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, pinText := range []string{rightPIN, wrongPIN, other} {
		if rec.Contains([]byte(pinText)) {
			t.Errorf("PIN %q crossed the wire", pinText)
		}
		if rec.Contains(guess(pinText)) {
			t.Errorf("the auth value of PIN %q crossed the wire", pinText)
		}
	}
	allSalted(t, rec)
}

func allSalted(t *testing.T, rec *testenv.TPMRecorder) {
	t.Helper()
	sessions := 0
	for _, x := range rec.Log() {
		if x.Code != tpm2.TPMCCStartAuthSession || x.RC != tpm2.TPMRCSuccess {
			continue
		}
		sessions++
		if x.Handles[0] == tpm2.TPMRHNull {
			t.Errorf("a session without salt: % x", x.Command)
		}
	}
	if sessions == 0 {
		t.Error("no session was recorded")
	}
}

// Each new index is put to the test whether a session can be bound to it.
func TestNewIndexIsTriedForBinding(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	key, err := provider(t, rec.Spec()).Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	index, err := tpm.IndexOf(key.Reference())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range rec.Log() {
		if x.Code == tpm2.TPMCCStartAuthSession && x.Handles[1] == index.Handle && errors.Is(x.RC, tpm2.TPMRCHandle) {
			return
		}
	}
	t.Error("no session was tried on the new index")
}

// The recorder is evidence in other tests, so it is put to the test itself: it
// must see a password that does cross the wire, and know which key signed.
func TestRecorderSees(t *testing.T) {
	chip := testenv.StartSWTPM(t)
	rec := testenv.RecordTPM(t, chip)
	p := provider(t, rec.Spec())
	var keys []hsm.Key
	for range 2 {
		key, err := p.Create(t.Context(), bound(""))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	for range 3 {
		mustSign(t, keys[0], "")
	}
	mustSign(t, keys[1], "")
	for i, want := range []int{3, 1} {
		if got := rec.SuccessfulSigns(ecdsaPublic(t, keys[i])); got != want {
			t.Errorf("key %d: recorded %d signatures, want %d", i, got, want)
		}
	}
	if n := rec.Count(tpm2.TPMCCSign); n != 4 {
		t.Errorf("recorded %d Sign commands, want 4", n)
	}
	raw, err := ecdsaPublic(t, keys[0]).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if x := raw[1:33]; !rec.Contains(x) {
		t.Error("the recorder missed a public key that crossed the wire")
	}
}

func TestSignaturesArePutDownToTheirKey(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	approval, err := p.Create(t.Context(), bound(rightPIN))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := approval.Sign(t.Context(), digest(), auth(wrongPIN)); !errors.Is(err, hsm.ErrWrongPIN) {
		t.Fatal(err)
	}
	if n := rec.SuccessfulSigns(ecdsaPublic(t, approval)); n != 0 {
		t.Errorf("%d signatures after a wrong PIN alone", n)
	}
	mustSign(t, approval, rightPIN)
	if n := rec.SuccessfulSigns(ecdsaPublic(t, approval)); n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}
}

func digest() []byte {
	d := sha256.Sum256([]byte("a decision"))
	return d[:]
}

func ecdsaPublic(t *testing.T, key hsm.Key) *ecdsa.PublicKey {
	t.Helper()
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("public key of type %T", key.Public())
	}
	return pub
}

func rsaPublic(t *testing.T, key hsm.Key) *rsa.PublicKey {
	t.Helper()
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		t.Fatalf("public key of type %T", key.Public())
	}
	return pub
}

// mustSign signs and verifies.
func mustSign(t *testing.T, key hsm.Key, pinText string) {
	t.Helper()
	sig, err := key.Sign(t.Context(), digest(), auth(pinText))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest(), sig) {
			t.Fatal("the signature does not verify")
		}
	default:
		if err := rsa.VerifyPKCS1v15(rsaPublic(t, key), crypto.SHA256, digest(), sig); err != nil {
			t.Fatalf("the signature does not verify: %v", err)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	for _, spec := range []string{"", "/dev/tpmrm0", "device:", "swtpm:tpm.sock", "file:/tmp/key", "device:relative"} {
		if _, err := tpm.Open(spec); err == nil || !strings.Contains(err.Error(), "want device") {
			t.Errorf("Open(%q): %v, want an error that says what is wanted", spec, err)
		}
	}
}
