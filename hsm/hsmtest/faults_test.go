package hsmtest_test

import (
	"slices"
	"testing"
	"time"

	"countersign/hsm"
	"countersign/hsm/hsmtest"
	"countersign/hsm/tpm"
)

// fault is one thing that is wrong with a back end which is right otherwise,
// and the case of the suite that finds it.
type fault struct {
	what   string
	caught string
	// plant makes the back end of a chip crooked. Whatever waits for ever in it
	// waits until stop is closed.
	plant func(c *crooked, chip *hsmtest.Chip, stop <-chan struct{})
}

// faults is the table that says what the suite is good for.
func faults() []fault {
	return slices.Concat(
		createFaults(), signFaults(), pinFaults(), pinBytesFaults(), lockFaults(), secretFaults(),
		referenceFaults(), contextFaults(), concurrencyFaults(),
		deleteFaults(), reservationFaults(), statusFaults(), healthFaults(), attestationFaults(),
	)
}

// fixture lends TPMs of software, used through what bend makes of the back end.
func fixture(bend func(tb testing.TB, p hsm.Provider, chip *hsmtest.Chip) hsm.Provider) hsmtest.Fixture {
	f := hsmtest.SWTPM(func(tb testing.TB, spec string) hsm.Provider {
		tb.Helper()
		p, err := tpm.Open(spec, tpm.WithIdle(10*time.Millisecond))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = p.Close() })
		return p
	})
	bent := func(lend func(testing.TB) *hsmtest.Chip) func(testing.TB) *hsmtest.Chip {
		return func(tb testing.TB) *hsmtest.Chip {
			tb.Helper()
			chip := lend(tb)
			chip.Provider = bend(tb, chip.Provider, chip)
			return chip
		}
	}
	f.Open, f.Attesting = bent(f.Open), bent(f.Attesting)
	return f
}

// TestFaultsAreFound plants each fault and runs the case that is to find it.
func TestFaultsAreFound(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.what, func(t *testing.T) {
			planted := fixture(func(tb testing.TB, p hsm.Provider, chip *hsmtest.Chip) hsm.Provider {
				c, stop := newCrooked(p), make(chan struct{})
				tb.Cleanup(func() { close(stop) })
				f.plant(c, chip, stop)
				return c
			})
			found := hsmtest.Complaints(t, planted, f.caught)
			if len(found) == 0 {
				t.Fatalf("case %q has not found it", f.caught)
			}
			t.Logf("%s: %s", f.caught, found[0])
		})
	}
}

// TestWithoutFaultNothingIsFound shows that it is the faults that are found, and
// not the crookedness.
func TestWithoutFaultNothingIsFound(t *testing.T) {
	honest := fixture(func(_ testing.TB, p hsm.Provider, _ *hsmtest.Chip) hsm.Provider { return newCrooked(p) })
	var done []string
	for _, f := range faults() {
		if slices.Contains(done, f.caught) {
			continue
		}
		done = append(done, f.caught)
		t.Run(f.caught, func(t *testing.T) {
			if found := hsmtest.Complaints(t, honest, f.caught); len(found) != 0 {
				t.Errorf("found in a back end without fault: %q", found)
			}
		})
	}
}

// TestCasesHaveNames keeps the names apart by which the table finds them.
func TestCasesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range hsmtest.Cases() {
		if c.Name == "" || c.Why == "" || seen[c.Name] {
			t.Errorf("case %q, because %q: no name, no reason, or twice", c.Name, c.Why)
		}
		seen[c.Name] = true
	}
	if len(seen) < 60 {
		t.Errorf("the suite has %d cases", len(seen))
	}
}
