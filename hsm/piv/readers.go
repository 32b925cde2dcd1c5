//go:build cgo

package piv

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/hsm"
)

// found is a token in a reader.
type found struct {
	reader   string
	serial   uint32
	firmware firmware
}

func (f found) String() string { return fmt.Sprintf("token %d in reader %s", f.serial, f.reader) }

// readerView is what a look at all readers shows.
type readerView struct {
	tokens []found
	busy   []string // readers that somebody else holds exclusively
}

var (
	errSilentService = fmt.Errorf("%w: pcscd does not answer", hsm.ErrUnavailable)
	errLockedCard    = fmt.Errorf("%w: it does not let go of the card", hsm.ErrBusy)
)

// withReaders lends a connection to pcscd.
func (v *visit) withReaders(f func(*pcscContext) error) error {
	done := v.waiting(errSilentService)
	p, err := establish()
	done()
	if err != nil {
		return err
	}
	defer p.release()
	return f(p)
}

// withApplet lends a card, shared and alone at it until f returns.
func (v *visit) withApplet(p *pcscContext, reader string, then disposition, f func(*applet) error) error {
	// pcscd answered a moment ago: it keeps us waiting for somebody else.
	done := v.waiting(errLockedCard)
	card, err := p.connect(reader)
	done()
	if err != nil {
		return err
	}
	err = v.atomically(card, f)
	if pcscCode(err) != 0 {
		// To reset a card that is gone would leave pcscd with a reader in
		// which it does not see the next one.
		then = leaveCard
	}
	card.disconnect(then)
	return err
}

func (v *visit) atomically(card *pcscCard, f func(*applet) error) error {
	done := v.waiting(errLockedCard)
	err := card.begin()
	done()
	if err != nil {
		return err
	}
	defer card.end()
	a, err := openApplet(card)
	if err != nil {
		return err
	}
	return f(a)
}

// look asks every card which token it is, in shared mode: a bank or identity
// card has no PIV application and is left as it was.
func (v *visit) look() (view readerView, err error) {
	err = v.withReaders(func(p *pcscContext) error {
		names, err := p.readers()
		if err != nil {
			return err
		}
		for _, name := range names {
			err := v.withApplet(p, name, leaveCard, func(a *applet) error {
				view.tokens = append(view.tokens, found{name, a.serial, a.firmware})
				return nil
			})
			switch pcscCode(err) {
			case codeSharing:
				view.busy = append(view.busy, name)
			case codeNoService, codeServiceStopped, codeInvalidHandle, codeDenied:
				return err
			}
		}
		return nil
	})
	return view, err
}

// settle is how long another program's short look at the card is waited for.
const settle = 700 * time.Millisecond

// find returns the token with this serial number; the only one for 0.
func (v *visit) find(serial uint32) (found, error) {
	for deadline := time.Now().Add(settle); ; {
		view, err := v.look()
		if err != nil {
			return found{}, explain(err)
		}
		token, err := view.choose(serial)
		if !errors.Is(err, hsm.ErrBusy) || time.Now().After(deadline) || !v.pause(tick/2) {
			return token, err
		}
	}
}

func (w readerView) choose(serial uint32) (found, error) {
	for _, t := range w.tokens {
		if t.serial == serial {
			return t, nil
		}
	}
	switch {
	case serial == 0 && len(w.tokens) == 1:
		return w.tokens[0], nil
	case serial == 0 && len(w.tokens) > 1:
		return found{}, fmt.Errorf("%w: %s", hsm.ErrManyTokens, w.serials())
	case len(w.busy) > 0:
		return found{}, fmt.Errorf("%w: reader %s", hsm.ErrBusy, strings.Join(w.busy, ", "))
	case serial == 0:
		return found{}, fmt.Errorf("%w: no reader has a PIV token", hsm.ErrTokenAbsent)
	case len(w.tokens) > 0:
		return found{}, fmt.Errorf("%w: token %d; there is %s", hsm.ErrTokenAbsent, serial, w.serials())
	}
	return found{}, fmt.Errorf("%w: token %d", hsm.ErrTokenAbsent, serial)
}

func (w readerView) serials() string {
	var list []string
	for _, t := range w.tokens {
		list = append(list, fmt.Sprint(t.serial))
	}
	return strings.Join(list, ", ")
}
