package tpm

import (
	"bytes"
	"fmt"

	"countersign/internal/secret"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const nonceSize = 16

// salted are the options of a session whose proofs nobody on the wire can try
// values against.
func (r *root) salted() tpm2.AuthOption { return tpm2.Salted(r.handle, r.public) }

// session is a one-command session that proves auth and encrypts the command's
// first parameter.
func (r *root) session(auth []byte) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize,
		r.salted(), tpm2.AESEncryption(128, tpm2.EncryptIn), tpm2.Auth(auth))
}

// proof is a one-command session that proves auth, for a command that brings
// nothing to encrypt. Where auth is empty there is nothing to prove either, and
// the session is spared.
func (r *root) proof(auth []byte) tpm2.Session {
	if len(auth) == 0 {
		return tpm2.PasswordAuth(nil)
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, r.salted(), tpm2.Auth(auth))
}

// sessions are the two sessions of a PIN's proof, kept for as long as the
// connection lasts: to recover a salt costs a chip as much as a signature. Each
// command in them has fresh nonces of both sides, and the policy session is empty
// again after each use (Part 3, 23.1). No PIN is in them between two calls.
type sessions struct {
	salt   []byte       // Name of the root they are salted to; nil where there are none
	proof  tpm2.Session // HMAC
	policy tpm2.Session
	auth   []byte // what proof proves: go-tpm keeps this very slice
}

// keptSessions returns the sessions salted to a root, starting them where there
// are none.
func (c *chip) keptSessions(r *root) (*sessions, error) {
	kept := &c.link.sessions
	if bytes.Equal(kept.salt, r.name.Buffer) {
		return kept, nil
	}
	c.endSessions()
	auth := make([]byte, authSize)
	proof, _, err := tpm2.HMACSession(c, tpm2.TPMAlgSHA256, nonceSize,
		r.salted(), tpm2.AESEncryption(128, tpm2.EncryptIn), tpm2.Auth(auth))
	if err != nil {
		return nil, fmt.Errorf("start a session: %w", err)
	}
	policy, _, err := tpm2.PolicySession(c, tpm2.TPMAlgSHA256, nonceSize, r.salted())
	if err != nil {
		c.end(proof)
		return nil, fmt.Errorf("start a policy session: %w", err)
	}
	*kept = sessions{r.name.Buffer, proof, policy, auth}
	return kept, nil
}

// offer makes the HMAC session prove a PIN until the function it returns is
// called.
func (s *sessions) offer(pin secret.Value) (withdraw func()) {
	proven, auth := s.auth, authValue(pin)
	copy(proven, auth)
	clear(auth)
	return func() { clear(proven) } // also when the sessions have ended meanwhile
}

// endSessions takes the kept sessions out of the chip.
func (c *chip) endSessions() {
	if kept := c.link.sessions; kept.salt != nil {
		c.end(kept.proof, kept.policy)
	}
	c.link.sessions = sessions{}
}

// end takes sessions out of the chip that did not end by themselves.
func (c *chip) end(all ...tpm2.Session) {
	for _, s := range all {
		if h := s.Handle(); h != tpm2.TPMRHNull && c.link.wire != nil {
			c.flush(h)
		}
	}
}

// noPolicyYet lets a policy session start; the policy follows.
func noPolicyYet(transport.TPM, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil }
