package session

import "context"

// Watch makes the session tell of forged signals, and returns what to call for
// each.
func (s *Session) Watch(i Incidents) func(signal, sender string) {
	s.strangers = newStrangers(s.Log, i)
	return s.strangers.saw
}

// TellOfStrangers runs what Run runs of it, until ctx ends.
func (s *Session) TellOfStrangers(ctx context.Context) { s.strangers.run(ctx) }
