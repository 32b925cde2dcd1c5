//go:build cgo

package virtualpiv_test

import (
	"strings"
	"testing"

	"countersign/hsm/hsmtest/virtualpiv"
	"countersign/internal/testenv"

	"github.com/go-piv/piv-go/v2/piv"
)

// rig is a card in a reader of a daemon that this process uses.
type rig struct {
	t     *testing.T
	card  *virtualpiv.Card
	pcscd *testenv.PCSCD
}

func newRig(t *testing.T, opts ...virtualpiv.Option) *rig {
	t.Helper()
	card := virtualpiv.New(t, opts...)
	r := &rig{t, card, testenv.StartPCSCD(t, card)}
	r.pcscd.Use()
	return r
}

// open opens the card in the first reader until the test ends.
func (r *rig) open() *piv.YubiKey {
	r.t.Helper()
	yk, err := piv.Open(r.pcscd.Reader(0).Name())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = yk.Close() })
	return yk
}

// eachFirmware runs a test on a card that manages with 3DES and on one that
// does with AES.
func eachFirmware(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, version := range []string{"5.4.3", "5.7.1"} {
		t.Run(version, func(t *testing.T) {
			test(t, newRig(t, virtualpiv.WithFirmware(version)))
		})
	}
}

func TestCardIsThereWhenTheDaemonStarts(t *testing.T) {
	r := newRig(t)
	serial, err := r.open().Serial()
	if err != nil || serial != r.card.Serial() {
		t.Fatalf("got serial number %d, %v; want %d", serial, err, r.card.Serial())
	}
	if log := r.pcscd.Log(); !strings.Contains(log, "daemon ready") {
		t.Errorf("the daemon's log is:\n%s", log)
	}
}

func TestReadersAreListedWithoutCards(t *testing.T) {
	p := testenv.StartPCSCD(t)
	p.Use()
	names, err := piv.Cards()
	if err != nil || len(names) != 2 || names[0] != p.Reader(0).Name() || names[1] != p.Reader(1).Name() {
		t.Fatalf("got %q, %v", names, err)
	}
	if _, err := piv.Open(p.Reader(0).Name()); err == nil {
		t.Fatal("an empty reader was opened")
	}
}

// TestInsertedCardAnswersAtOnce inserts as often as it takes to meet a card
// that is only half there.
func TestInsertedCardAnswersAtOnce(t *testing.T) {
	p := testenv.StartPCSCD(t)
	p.Use()
	for range 4 {
		card := virtualpiv.New(t)
		p.Reader(1).Insert(card)
		serialOf(t, p.Reader(1), card.Serial())
	}
}

func TestRemovedCardIsGone(t *testing.T) {
	r := newRig(t)
	yk := r.open()
	r.pcscd.Reader(0).Remove()
	if r.pcscd.Reader(0).HasCard() {
		t.Error("the reader still has a card")
	}
	if _, err := yk.Serial(); err == nil {
		t.Error("a card that is not there answered")
	}
	if _, err := piv.Open(r.pcscd.Reader(0).Name()); err == nil {
		t.Error("a card that is not there was opened")
	}
}

func TestTwoCardsAtOnce(t *testing.T) {
	one, other := virtualpiv.New(t), virtualpiv.New(t)
	p := testenv.StartPCSCD(t, one, other)
	p.Use()
	serialOf(t, p.Reader(0), one.Serial())
	serialOf(t, p.Reader(1), other.Serial())
}

func TestCardOutlivesTheDaemon(t *testing.T) {
	r := newRig(t)
	r.open()
	r.pcscd.Kill()
	if _, err := piv.Open(r.pcscd.Reader(0).Name()); err == nil {
		t.Fatal("a daemon that was killed answered")
	}
	r.pcscd.Start()
	serialOf(t, r.pcscd.Reader(0), r.card.Serial())
	r.pcscd.Restart()
	serialOf(t, r.pcscd.Reader(0), r.card.Serial())
}

// TestDaemonsAreApart shows that a program can be led to another daemon than
// this process uses.
func TestDaemonsAreApart(t *testing.T) {
	r := newRig(t)
	other := testenv.StartPCSCD(t, virtualpiv.New(t))
	if r.pcscd.Pid() == other.Pid() || r.pcscd.Env() == other.Env() {
		t.Fatal("two daemons are one")
	}
	serialOf(t, r.pcscd.Reader(0), r.card.Serial())
}

func TestCardWithoutPIVIsNotSelected(t *testing.T) {
	card := virtualpiv.New(t, virtualpiv.WithoutPIV())
	p := testenv.StartPCSCD(t, card)
	p.Use()
	if _, err := piv.Open(p.Reader(0).Name()); err == nil {
		t.Fatal("a card without the application was opened")
	}
	if card.Count(virtualpiv.Select) == 0 {
		t.Fatal("the card was not even asked")
	}
}

func TestPulledBeforeCommand(t *testing.T) {
	r := newRig(t)
	yk := r.open()
	r.card.PullBefore(virtualpiv.GenerateKey)
	if _, err := yk.GenerateKey(piv.DefaultManagementKey, piv.SlotSignature, keyOf(piv.PINPolicyOnce)); err == nil {
		t.Fatal("a card that was pulled answered")
	}
	if r.card.PublicKey(virtualpiv.Signature) != nil {
		t.Error("the card has executed what it was not to see")
	}
	// What was opened stays open for nobody else until it is closed.
	_ = yk.Close()
	r.pcscd.Reader(0).Insert(r.card)
	serialOf(t, r.pcscd.Reader(0), r.card.Serial())
}

func TestPulledAfterCommand(t *testing.T) {
	r := newRig(t)
	yk := r.open()
	r.card.PullAfter(virtualpiv.GenerateKey)
	if _, err := yk.GenerateKey(piv.DefaultManagementKey, piv.SlotSignature, keyOf(piv.PINPolicyOnce)); err == nil {
		t.Fatal("a card that was pulled answered")
	}
	if r.card.PublicKey(virtualpiv.Signature) == nil {
		t.Error("the card has not executed the command")
	}
}

func keyOf(pin piv.PINPolicy) piv.Key {
	return piv.Key{Algorithm: piv.AlgorithmEC256, PINPolicy: pin, TouchPolicy: piv.TouchPolicyNever}
}

func serialOf(t *testing.T, reader *testenv.Reader, want uint32) {
	t.Helper()
	yk, err := piv.Open(reader.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer yk.Close()
	serial, err := yk.Serial()
	if err != nil || serial != want {
		t.Fatalf("got serial number %d, %v; want %d", serial, err, want)
	}
}
