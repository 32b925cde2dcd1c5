// Package policy holds what the administrator of a computer allows, and users
// cannot change: it only ever takes away from what servers and users ask for.
//
// The rules are looked at where something is done and not where it is asked for,
// each time: a policy that has become stricter holds for what was there before.
package policy

import (
	"slices"
	"time"
	"unicode/utf8"

	"countersign/protocol"
)

// Policy is the table [policy] of the configuration. The zero value locks
// nothing.
type Policy struct {
	// ClassFloor is the least class that approving takes here.
	ClassFloor protocol.Class
	// Servers are those that may be enrolled at; nil is every server.
	Servers Servers
	// PINMinLength is the least length of a new PIN in characters, beside what
	// the chip demands in bytes; 0 leaves it to the chip.
	PINMinLength int
	// MuteMax is how long a user may mute prompts, at most; 0 is not at all, and
	// nil as long as the service lets anybody.
	MuteMax *time.Duration
	// LocalApprovals is where approvals may be made, one of the constants; "" is
	// Anywhere.
	LocalApprovals string
	// Keys are the providers that may keep keys; nil is every provider.
	Keys []string
	// AttestationRequired lets in only keys whose server has seen their chip prove
	// them.
	AttestationRequired bool
}

// Where approvals may be made. A denial may be made anywhere: it grants nothing.
const (
	// Anywhere: in prompts, on terminals, and by programs.
	Anywhere = "any"
	// OnTerminals: in prompts and on terminals.
	OnTerminals = "terminal"
	// InPrompts: in the prompts of the desktop alone.
	InPrompts = "prompt"
)

// Approvals lists them, from the loosest.
func Approvals() []string { return []string{Anywhere, OnTerminals, InPrompts} }

// AllowsSurface reports whether an approval may be made on a surface, as package
// protocol names it. The caller says so itself: this keeps habits from forming,
// and no malware out.
func (p Policy) AllowsSurface(surface string) bool {
	switch p.LocalApprovals {
	case "", Anywhere:
		return true
	case OnTerminals:
		return surface == protocol.SurfacePrompt || surface == protocol.SurfaceTTY
	}
	return surface == protocol.SurfacePrompt
}

// AllowsKey reports whether a provider may keep keys.
func (p Policy) AllowsKey(provider string) bool {
	return p.Keys == nil || slices.Contains(p.Keys, provider)
}

// AllowsPIN reports whether a PIN is long enough to be set.
func (p Policy) AllowsPIN(pin []byte) bool { return utf8.RuneCount(pin) >= p.PINMinLength }

// Mute is how long a user may mute prompts, of the longest that is at all.
func (p Policy) Mute(longest time.Duration) time.Duration {
	if p.MuteMax == nil {
		return longest
	}
	return min(*p.MuteMax, longest)
}
