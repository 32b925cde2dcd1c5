// Package attest judges what chips prove about keys.
//
// It decides whether a private key can leave its chip and can be used without
// its PIN, so it believes nothing that is not signed under one of the operator's
// roots and fresh by the server's own nonce. Whatever it does not expect it
// refuses, with *protocol.Problem; it never panics on what was sent. It keeps
// nothing and knows no clock.
package attest

import (
	"crypto"
	"crypto/x509"
	"time"

	"countersign/protocol"
)

// Trust is what an attestation is judged by.
type Trust struct {
	// Roots are the certificates of chip vendors that the operator trusts; with
	// nil, none.
	Roots *x509.CertPool
	// Now is the time at which certificates must be valid.
	Now time.Time
}

// Keys are the public keys that the device asks certificates for. One that
// lives elsewhere, or is not part of this attestation, is nil.
type Keys struct{ Device, Approval crypto.PublicKey }

// Finding is what a chip proved about one key.
type Finding struct {
	Format     string
	PINBound   bool
	TouchBound bool
	PINCounter string
	Advisory   string
	Chip       protocol.Chip
}

// Findings are what was proved about each of Keys; nil where a key is nil.
type Findings struct{ Device, Approval *Finding }
