// Package ipc is the local API of the service: what countersignd offers on its
// unix socket, and how the user's programs call it.
//
// The protocol is HTTP/1.1 with JSON over the socket, so that
// "curl --unix-socket" is a client. Callers are known by what the kernel says
// of their socket (SO_PEERCRED), never by what they send. Each route declares
// in the route table who may call it; a route without a rule does not start.
//
// What a session helper sends is a user's click and keystrokes. It is never
// proof of a PIN: the chip checks that.
package ipc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"countersign/internal/secret"
)

// SystemSocket is where the system service listens.
const SystemSocket = "/run/countersign/agent.sock"

// UserSocket is where the service of a single user listens: below
// $XDG_RUNTIME_DIR, or "" where that is not set.
func UserSocket() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "countersign", "agent.sock")
}

// DefaultSocket is that of the user's own service where there is one, else the
// system's. What a service that was removed or killed leaves until the user logs out,
// a socket that nobody listens at, does not hide the system's.
func DefaultSocket() string { return choose(UserSocket(), SystemSocket) }

func choose(own, system string) string {
	if own == "" {
		return system
	}
	c, err := net.DialTimeout("unix", own, time.Second)
	if err == nil {
		_ = c.Close()
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return system
	case errors.Is(err, unix.ECONNREFUSED):
		if _, err := os.Stat(system); err == nil {
			return system
		}
	}
	return own
}

// Status is the service as a whole, answered by GET /v1/status.
type Status struct {
	Version string `json:"version"`
	// Mode is "system" or "user".
	Mode string `json:"mode"`
	// Degraded says, in words for people, what does not work and why; empty
	// when all is well.
	Degraded []string `json:"degraded"`
	// Keys describes the key provider, e.g. "tpm".
	Keys string `json:"keys"`
	// Profiles and Pending count what the caller may see.
	Profiles int `json:"profiles"`
	Pending  int `json:"pending"`
	// MutedUntil is when the caller's prompts begin again, where they are muted.
	MutedUntil *time.Time `json:"muted_until,omitempty"`
	// Quiet is why the caller is prompted for nothing now, one of the Quiet
	// constants, and QuietUntil for how long yet; "" where they are prompted.
	Quiet      string     `json:"quiet,omitempty"`
	QuietUntil *time.Time `json:"quiet_until,omitempty"`
	// Prompting says that a session helper of the caller can ask now: it is in
	// an active, local, unlocked session, or on a terminal.
	Prompting bool `json:"prompting"`
	// Policy is what the administrator of this computer allows; nil is not known.
	Policy *Policy `json:"policy,omitempty"`
}

// Profile is one user at one Token Server, on this device.
type Profile struct {
	ID     string `json:"id"`
	User   string `json:"user"`
	Server string `json:"server"`
	Device string `json:"device"`
	Name   string `json:"name"`
	Key    Key    `json:"key"`
	// State is "active", "unconfirmed" (the issuing page must confirm the
	// code) or "revoked".
	State string `json:"state"`
	// Reason says why a profile is not active.
	Reason string `json:"reason,omitempty"`
	// Connected says whether the last exchange with the server succeeded.
	Connected  bool      `json:"connected"`
	EnrolledAt time.Time `json:"enrolled_at"`
	// RenewBy is when the certificate of the approval key ends, once it is time
	// that its owner renews it.
	RenewBy *time.Time `json:"renew_by,omitempty"`
	// HeldOff is the code of why this computer's policy lets the profile do
	// nothing; "" where it works.
	HeldOff string `json:"held_off,omitempty"`
	// UID is the owner.
	UID uint32 `json:"uid"`
}

// Key says where the keys of a profile live and what protects them.
type Key struct {
	// Provider keeps the approval key, DeviceProvider the device key.
	Provider       string `json:"provider"`
	DeviceProvider string `json:"device_provider"`
	// Protection is for people.
	Protection string `json:"protection"`
	// PINCounter is who counts wrong PINs: "index", "lockout" or "token".
	PINCounter string `json:"pin_counter"`
	Touch      bool   `json:"touch"`
	// Attested says that the server has seen the chip prove it; Unattested why
	// it has not.
	Attested   bool   `json:"attested"`
	Unattested string `json:"unattested,omitempty"`
	// Chip names the hardware, in its own words.
	Chip string `json:"chip"`
}

// Enrollment asks the service to enroll its caller, POST /v1/enrollments.
type Enrollment struct {
	// URI is the whole countersign:enroll link, with its one-time token.
	URI secret.Value
	// Key is "tpm" or "piv[:serial]".
	Key string
	// Name is what the server shows for this device.
	Name string
	// PIN becomes a TPM key's, and is the one of a token.
	PIN secret.Value
	// Admin is the management key of a token, as bytes.
	Admin secret.Value
	// Algorithm of the approval key is "ES256" or "RS256"; "" is the first.
	Algorithm string
	// Touch makes every use of the approval key take a touch.
	Touch bool
	// NoAttestation keeps the chip from proving anything, for a server that
	// does not know its maker and lets such devices in.
	NoAttestation bool
	// KeepAdmin is the consent to replace the management key of a token by a
	// random one, which the token keeps under its PIN.
	KeepAdmin bool
}

// Enrolled is the answer to an Enrollment.
type Enrolled struct {
	Profile string `json:"profile"`
	Device  string `json:"device"`
	Key     Key    `json:"key"`
	// ConfirmCode, where the server asks for it, is the 6-digit code that the
	// issuing page must confirm before the profile is active.
	ConfirmCode string `json:"confirm_code,omitempty"`
}

// RelyingParty is who asks.
type RelyingParty struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Request is an approval request as the list shows it.
type Request struct {
	// ID is the server's transaction id.
	ID         string       `json:"id"`
	Profile    string       `json:"profile"`
	Client     RelyingParty `json:"client"`
	Message    string       `json:"message"`
	Type       string       `json:"type"`
	Method     string       `json:"method"`
	Class      string       `json:"class"`
	ReceivedAt time.Time    `json:"received_at"`
	ExpiresAt  time.Time    `json:"expires_at"`
	// Status is "pending", "approved", "denied", "expired", "cancelled",
	// "failed", or "unconfirmed" for a decision the server has not yet
	// acknowledged.
	Status string `json:"status"`
	// Quiet is why nobody is prompted for it though it waits, one of the Quiet
	// constants, or "" where it is prompted for.
	Quiet string `json:"quiet,omitempty"`
	// Origin is where the code came from that brought the request here, as
	// package protocol names it, or "" for one that was pushed.
	Origin string `json:"origin,omitempty"`
}

// Why a request is listed and not prompted for.
const (
	// QuietMuted: the user asked for silence.
	QuietMuted = "muted"
	// QuietTooMany: too many were denied or left unanswered of late.
	QuietTooMany = "too_many"
)

// View is how a display record is rendered for one person. The zero View is
// English in the service's time zone.
type View struct {
	// Language is "en", "nl", "fr" or "de", TimeZone an IANA name.
	Language string
	TimeZone string
}

// Display is one request with exactly what a person must be shown,
// GET /v1/requests/{id}.
type Display struct {
	Request
	// Account is user@host, for a title; it is not part of the record.
	Account string `json:"account"`
	// Lines is the display record, in order, without line ends, and Language
	// and TimeZone what it was rendered with. An Answer repeats both.
	Lines    []string `json:"lines"`
	Language string   `json:"language"`
	TimeZone string   `json:"time_zone"`
	// RequestHash and DisplayHash are base64url SHA-256; an Answer repeats
	// them, so that nobody approves what was not shown.
	RequestHash string `json:"request_hash"`
	DisplayHash string `json:"display_hash"`
	// NumberDigits is how many digits the person must type; 0 means none.
	NumberDigits int `json:"number_digits"`
	// PINNeeded says that approving takes the PIN of the approval key.
	PINNeeded bool `json:"pin_needed"`
	// PINTriesLeft is the chip's count, where it says.
	PINTriesLeft *int `json:"pin_tries_left,omitempty"`
	// TouchNeeded says that approving takes a touch of the token too.
	TouchNeeded bool `json:"touch_needed"`
	HighValue   bool `json:"high_value"`
	// Verify is how the service itself verifies the person when an approval
	// brings no PIN, one of the Verify constants; "" where it does not. The PIN
	// is always an alternative to it.
	Verify string `json:"verify,omitempty"`
}

// How the service verifies a person by itself.
const (
	VerifyFingerprint = "fingerprint"
	VerifyPolkit      = "polkit"
	VerifyPlugin      = "plugin"
)

// Decisions and the reasons of a denial, as the wire says them.
const (
	Approve   = "approve"
	Deny      = "deny"
	Cancelled = "cancelled"
	NotMe     = "not_me"
)

// Surfaces: where the person decided, as the caller declares it.
const (
	SurfacePrompt = "prompt"
	SurfaceTTY    = "tty"
	SurfaceCLI    = "cli"
)

// Answer is a person's decision, POST /v1/requests/{id}/decision.
type Answer struct {
	RequestHash string
	DisplayHash string
	// Language and TimeZone are those of the Display.
	Language string
	TimeZone string
	// Decision is Approve or Deny, Reason for a denial Cancelled or NotMe.
	Decision string
	Reason   string
	// Number is what the person typed.
	Number  string
	Surface string
	PIN     secret.Value
}

// Result is what became of a decision.
type Result struct {
	ID       string `json:"id"`
	Decision string `json:"decision"`
	// Status is the transaction's, as the server confirmed it.
	Status string `json:"status"`
	Reason string `json:"reason"`
	// Confirmed says that the server's signed receipt is stored. While it is
	// false the decision is safe on disk and delivery goes on.
	Confirmed bool `json:"confirmed"`
}

// Kinds of Event.
const (
	// EventPending: a request waits; also sent for each one at the start.
	EventPending = "pending"
	// EventClosed: the request ended without a decision of this device.
	EventClosed = "closed"
	// EventResult: what became of a decision made here.
	EventResult = "result"
	// EventTouch: the token waits to be touched, for the request, or without
	// one for an enrollment.
	EventTouch = "touch"
	// EventVerify: the service verifies the person for the request, and Hint
	// says what to do, e.g. "place_finger".
	EventVerify = "verify"
	// EventProfile: Profile has changed its state, e.g. to revoked.
	EventProfile = "profile"
	// EventSetup: this computer is a fleet's, and Setup says whether the caller has
	// an enrollment there.
	EventSetup = "setup"
	// EventReady: everything that was pending at the start has been sent.
	EventReady = "ready"
)

// Event is one line of the stream GET /v1/events.
type Event struct {
	Kind    string   `json:"kind"`
	Request *Request `json:"request,omitempty"`
	Result  *Result  `json:"result,omitempty"`
	Profile *Profile `json:"profile,omitempty"`
	Setup   *Setup   `json:"setup,omitempty"`
	Hint    string   `json:"hint,omitempty"`
	// Pending is the number of requests now waiting for the caller.
	Pending int `json:"pending"`
}

// How a Check stands. A failure keeps something from working, a warning says
// that it works less well than it could.
const (
	CheckOK   = "ok"
	CheckWarn = "warn"
	CheckFail = "fail"
)

// Check is one finding of doctor.
type Check struct {
	Code string `json:"code"`
	// Status is CheckOK, CheckWarn or CheckFail.
	Status string `json:"status"`
	Detail string `json:"detail"`
	// Cure is the command or step that mends it, in words.
	Cure string `json:"cure"`
	// Command is the line for a shell that does what Cure says, where one does.
	Command string `json:"command,omitempty"`
}

// Mended is the check with the way to mend what it found: in words, and where one
// does it, the command, which then ends the words too.
func (c Check) Mended(words, command string) Check {
	c.Cure, c.Command = words, command
	if command != "" {
		c.Cure += ": " + command
	}
	return c
}
