package tpm_test

import (
	"testing"

	"countersign/hsm"
	"countersign/internal/testenv"

	"github.com/google/go-tpm/tpm2"
)

// RSA keys of 2048 bits, for servers that take nothing else, are made and
// guarded like the others.
func TestRS256(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	for _, pinText := range []string{"", rightPIN} {
		template := bound(pinText)
		template.Algorithm = hsm.RS256
		key := mustCreate(t, p, template)
		mustSign(t, key, pinText)
		again := mustOpen(t, p, key.Reference())
		if !rsaPublic(t, again).Equal(key.Public()) || rsaPublic(t, again).N.BitLen() != 2048 {
			t.Error("the reopened key is another one")
		}
		if again.Protection() != key.Protection() {
			t.Errorf("protection %+v, reopened %+v", key.Protection(), again.Protection())
		}
		mustSign(t, again, pinText)
		if pinText != "" {
			mustMiss(t, again, 4)
		}
	}
	if rec.Contains(guess(rightPIN)) {
		t.Error("an auth value crossed the wire")
	}
}

// A signature of RSA with an error in it may give away the key, so it is not
// passed on.
func TestFaultyRSASignatureStaysHere(t *testing.T) {
	rec := testenv.RecordTPM(t, testenv.StartSWTPM(t))
	p := provider(t, rec.Spec())
	key := mustCreate(t, p, hsm.Template{Algorithm: hsm.RS256})
	rec.Tamper(func(x testenv.Exchange) []byte {
		if len(x.Response) > 256 && x.Code == tpm2.TPMCCSign {
			x.Response[len(x.Response)-100] ^= 1
		}
		return x.Response
	})
	if sig, err := key.Sign(t.Context(), digest(), hsm.Auth{}); err == nil || sig != nil {
		t.Errorf("a faulty signature: %d bytes, %v", len(sig), err)
	}
}
