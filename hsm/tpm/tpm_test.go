package tpm_test

import (
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/hsm/tpm"
)

// provider opens a TPM and closes it with the test.
func provider(tb testing.TB, spec string, options ...tpm.Option) *tpm.Provider {
	tb.Helper()
	p, err := tpm.Open(spec, options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return p
}

// chips are TPMs of software. The provider lets go of one soon, so that a case
// can look into it.
func chips() hsmtest.Fixture {
	return hsmtest.SWTPM(func(tb testing.TB, spec string) hsm.Provider {
		tb.Helper()
		return provider(tb, spec, tpm.WithIdle(20*time.Millisecond))
	})
}

func TestConformance(t *testing.T) { hsmtest.Run(t, chips()) }
