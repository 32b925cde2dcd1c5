package piv

import "time"

// The limits a Provider starts with.
const (
	// DefaultTimeout bounds one operation once it has its turn at the readers,
	// for callers whose context has no deadline. A token waits about 15 seconds
	// for its touch.
	DefaultTimeout = 40 * time.Second
	// DefaultPatience is how long pcscd may take to answer, and another program
	// to let go of the card, before that is an error.
	DefaultPatience = 1300 * time.Millisecond
)

type limits struct{ timeout, patience time.Duration }

// Option changes a Provider's limits.
type Option func(*limits)

// WithTimeout replaces DefaultTimeout.
func WithTimeout(d time.Duration) Option { return func(l *limits) { l.timeout = d } }

// WithPatience replaces DefaultPatience.
func WithPatience(d time.Duration) Option { return func(l *limits) { l.patience = d } }
