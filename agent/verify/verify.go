// Package verify asks the operating system whether the person at the computer
// is who they should be: by their finger (fprintd), by whatever PAM takes
// (polkit), or by a program of the administrator's (a plug-in).
//
// What is protected is the meaning of a yes. It comes from the very daemon that
// was asked, about the person and the request that were asked about, within the
// time allowed; everything else is an error. A bus that is away, a daemon that
// changes hands, an answer that cannot be read and a signal from a stranger are
// never a yes.
//
// A yes releases no key and proves nothing to anybody else: a program with the
// service's rights can fake it. Callers count it as class C1 at most, always
// offer the PIN instead, and check after the wait whatever was true before it.
// The verification happens in the service. No program of the user takes part
// but the dialogs of the desktop, which hold no result.
package verify

import (
	"context"
	"errors"
	"os"
)

// Subject is the person who is verified, and the process that asks for them.
type Subject struct {
	UID uint32
	// User is the login name of UID, "" where the system knows none.
	User string
	// PID and Started, in clock ticks since the boot (proc_pid_stat(5), field
	// 22), name the process. 0 is unknown.
	PID     int32
	Started uint64
	// PIDFD names the same process where the kernel can; else it is nil. It
	// stays the caller's, who closes it.
	PIDFD *os.File
}

// Request is what the person is verified for.
type Request struct {
	// Client is the name of the relying party, as people are shown it.
	Client string
	Class  string
	// Hash is the base64url SHA-256 of the request's bytes.
	Hash string
}

// Verifier is one way of verifying a person.
type Verifier interface {
	// Available returns nil where Verify can be tried, else an *Unavailable.
	// It asks the person nothing.
	Available(ctx context.Context, s Subject) error
	// Verify returns nil only where the person proved who they are, for this
	// call. Else it returns ErrNoMatch, ErrDismissed, ErrTimeout, an
	// *Unavailable, or the cause of ctx's end. It calls hint, from its own
	// goroutine, with what the person should do: one of the Hint constants.
	Verify(ctx context.Context, s Subject, r Request, hint func(string)) error
}

// Why a person was not verified, other than Unavailable.
var (
	ErrNoMatch   = errors.New("the person was not recognized")
	ErrDismissed = errors.New("the person declined to be verified")
	ErrTimeout   = errors.New("the person was not verified in time")
)

// Unavailable says why nobody can be verified this way, in words that are safe
// to show.
type Unavailable struct {
	Text string
	// Cure is what to do about it, or "".
	Cure string
	// Absent says that nothing is broken: this computer has no reader, or the
	// person never showed it a finger.
	Absent bool
	// Err is the cause, for the log.
	Err error
}

// Error implements error.
func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Text
	}
	return u.Text + ": " + u.Err.Error()
}

// Unwrap returns the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

// What a person is told while they are verified.
const (
	HintPlaceFinger = "place_finger"
	HintRetry       = "retry"
	HintTooShort    = "swipe_too_short"
	HintCenter      = "center_finger"
	HintRemove      = "remove_and_retry"
	HintDialog      = "confirm_in_dialog"
	HintElsewhere   = "confirm_elsewhere"
)
