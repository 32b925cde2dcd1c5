package tpm_test

import (
	"context"
	"crypto/sha256"
	"testing"

	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// BenchmarkSign compares a key that needs a PIN with one that does not, on one
// software TPM. On a chip of silicon each elliptic-curve operation is the cost:
// the ratio carries over, the microseconds do not.
func BenchmarkSign(b *testing.B) {
	p, err := tpm.Open(testenv.StartSWTPM(b).Spec())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	digest := sha256.Sum256([]byte("approve"))
	for _, c := range []struct{ name, pin string }{{"baseline=without PIN", ""}, {"with PIN", "493817"}} {
		key, err := p.Create(context.Background(), bound(c.pin))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := key.Sign(context.Background(), digest[:], auth(c.pin)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
