package tpm_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"countersign/hsm"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// TestManyPINs uses a hundred PINs, each right: whatever bytes their auth
// values are made of, the chip takes them.
func TestManyPINs(t *testing.T) {
	p, err := tpm.Open(testenv.StartSWTPM(t).Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	digest := sha256.Sum256([]byte("approve"))
	for i := range 100 {
		pin := fmt.Sprintf("%012d", i*7919)
		key, err := p.Create(context.Background(), bound(pin))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := key.Sign(context.Background(), digest[:], auth(pin)); err != nil {
			t.Errorf("the right PIN %s: %v", pin, err)
		}
		if err := key.Delete(context.Background(), hsm.Auth{}); err != nil {
			t.Fatal(err)
		}
	}
}
