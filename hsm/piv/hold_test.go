//go:build cgo

package piv

import "testing"

// What another program does to a card. cgo is not for test files, so it is done
// with the package's own connections.

// HoldShared keeps the card as a program does that others may use beside, or in
// a transaction.
func HoldShared(t testing.TB, reader string, transaction bool) (letGo func()) {
	t.Helper()
	p, err := establish()
	if err != nil {
		t.Fatal(err)
	}
	card, err := p.connect(reader)
	if err == nil && transaction {
		err = card.begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if transaction {
			card.end()
		}
		card.disconnect(leaveCard)
		p.release()
	}
}

// OpenExclusively opens a reader as we open tokens.
func OpenExclusively(reader string) error {
	yk, err := openExclusively(reader)
	if err == nil {
		return yk.Close()
	}
	return err
}

// IsFree reports whether other programs can use the card.
func IsFree(reader string) bool {
	p, err := establish()
	if err != nil {
		return false
	}
	defer p.release()
	card, err := p.connect(reader)
	if err != nil {
		return false
	}
	card.disconnect(leaveCard)
	return true
}

// HoldExclusively keeps the card so that nobody else can have it.
func HoldExclusively(t testing.TB, reader string) (letGo func()) {
	t.Helper()
	p, err := establish()
	if err != nil {
		t.Fatal(err)
	}
	card, err := p.connectAs(reader, shareExclusive)
	if err != nil {
		t.Fatal(err)
	}
	return func() { card.disconnect(leaveCard); p.release() }
}
