package tpm_test

import (
	"testing"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/hsm/tpm"
	"countersign/internal/testenv"
)

// provider opens a TPM and closes it with the test.
func provider(t *testing.T, spec string, options ...tpm.Option) *tpm.Provider {
	t.Helper()
	p, err := tpm.Open(spec, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

func TestConformance(t *testing.T) {
	hsmtest.Run(t, func(t *testing.T) hsm.Provider {
		return provider(t, testenv.StartSWTPM(t).Spec())
	})
}
