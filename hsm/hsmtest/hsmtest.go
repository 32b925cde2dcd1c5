// Package hsmtest is the suite that every back end of hsm passes, run against
// real chips or ones of software. A back end describes its chips in a Fixture,
// and its own test is one line:
//
//	func TestConformance(t *testing.T) { hsmtest.Run(t, fixture()) }
//
// A suite that cannot fail protects nothing. So each Case takes a judge that
// need not be a test, and faults_test.go plants one fault after the other into
// a back end that works and names the case that finds it.
package hsmtest

import (
	"slices"
	"testing"

	"countersign/hsm"
)

// Fixture describes a kind of chip and lends chips of it.
type Fixture struct {
	// Open lends a chip and takes it back when tb ends. Unless OneChip is set,
	// nobody has used it before and no other call's chip is the same.
	Open func(tb testing.TB) *Chip
	// OneChip says that Open lends the same chip again and again, such as the
	// TPM of a virtual machine. What needs two is skipped then, and what would
	// spoil a token for whoever comes next.
	OneChip bool
	// Attesting lends a chip that its maker gave what it takes to prove where
	// its keys live; nil where there is none.
	Attesting func(tb testing.TB) *Chip
	// Challenge makes what a server would ask after a claim, and the secret that
	// the chip finds in its credential; nil where there is none.
	Challenge func(tb testing.TB, claim hsm.Claim, nonce []byte) (challenge hsm.Challenge, secret []byte)

	// PIN is the right one: what keys are made with, or what the token has.
	// WrongPIN is one that the chip looks at and refuses.
	PIN, WrongPIN string
	// MinPIN and MaxPIN bound what the chip takes for a PIN, in bytes.
	MinPIN, MaxPIN int
	// AnyPIN says that a PIN may be made of any bytes, and that each key has
	// the one it was made with.
	AnyPIN bool
	// SharedPIN says that one PIN and one count serve all keys of the chip, as
	// on a token, and that Create and Delete take that PIN.
	SharedPIN bool
	// Tries is how many wrong PINs lock, and Counter who counts them.
	Tries   int
	Counter hsm.Counter
	// Admin is the management key that Create and Delete take besides; empty
	// where the chip has none or keeps it under the PIN.
	Admin string
	// ByPerson says that the chip lets only a person remove things, so that
	// Release without one is refused.
	ByPerson bool

	// Foreign is what Open says of another chip's key, where that is not
	// ErrForeignKey: a token that is at home is not a foreign one.
	Foreign error

	// Algorithms are what keys can be made for.
	Algorithms []hsm.Algorithm
	// Touch says that the chip has a sensor.
	Touch bool
}

// Chip is a chip and what can be done to it from outside. A hook that is nil
// skips the cases that need it.
type Chip struct {
	Provider hsm.Provider
	// Restart cuts the power and brings it back.
	Restart func()
	// Detach takes the chip away, and Attach puts the same one back.
	Detach, Attach func()
	// Stall makes the chip accept commands without working on them, until
	// resume is called; resuming twice does no harm.
	Stall func() (resume func())
	// Held counts what keys have left in the chip: indices of a TPM, slots of a
	// token. It is called between calls of the Provider and never during one.
	Held func() int
}

// Case is one thing that a back end promises.
type Case struct {
	// Name says what is checked, and Why what would go wrong otherwise.
	Name, Why string
	check     func(*rig)
}

// Cases returns the suite.
func Cases() []Case {
	return slices.Concat(
		createCases(), signCases(), signerCases(),
		pinCases(), pinBytesCases(), lockCases(), secretCases(),
		referenceCases(), mutatedCases(),
		endedCases(), midwayCases(), concurrencyCases(),
		deleteCases(), reservationCases(),
		statusCases(), healthCases(), attestationCases(),
	)
}

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Logf("why it matters: %s", c.Why)
			c.check(&rig{T: t, Fixture: f, tb: t})
		})
	}
}
