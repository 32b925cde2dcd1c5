package agent

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/agent/state"
	"countersign/agent/upstream"
	"countersign/hsm"
	"countersign/internal/secret"
	"countersign/ipc"
	"countersign/protocol"
)

// renewing is a new key on its way to take the old one's place. Until the server
// has certified it, whatever goes wrong leaves the old key as it was and nothing
// of the new one: a key with its PIN is worth nothing to anybody.
type renewing struct {
	// enrolling makes the key as an enrollment does, with the new PIN.
	*enrolling
	profile *profile
	slot    *keySlot
	old     *lazyKey
	claimed hsm.Claim
	key     hsm.Key
	request protocol.RenewalStart
}

// pinPair are the PINs of an approval key and of its successor; a device key has
// none. Admin is the management key of a token.
type pinPair struct{ old, next, admin secret.Value }

// renew makes a key with the new PIN and has the server certify it on the old
// key's word.
func (p *profile) renew(ctx context.Context, slot *keySlot, in pinPair) (*renewal, error) {
	client := p.clientNow()
	if client == nil {
		return nil, fmt.Errorf("%w: %w", upstream.ErrUnreachable, errNeverReached)
	}
	s := p.get()
	n := &renewing{profile: p, slot: slot, old: slot.current.Load(), enrolling: &enrolling{
		Enrollment: &state.Enrollment{UID: s.UID}, agent: p.agent, client: client,
		log: p.agent.cfg.Log.With("profile", s.ID, "role", slot.role),
	}}
	n.auth = hsm.Auth{PIN: in.next, Admin: in.admin, Touch: func() { p.agent.publish(s.UID, ipc.Event{Kind: ipc.EventTouch}) }}
	done, err := n.run(ctx, hsm.Auth{PIN: in.old, Touch: n.auth.Touch})
	if err != nil {
		p.agent.reserved.drop(n.Reserved...)
		return nil, errors.Join(err, n.discardKeys())
	}
	return done, nil
}

func (n *renewing) run(ctx context.Context, old hsm.Auth) (*renewal, error) {
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	if err := n.make(ctx, old); err != nil {
		return nil, err
	}
	renewed, err := n.certified(ctx)
	if err != nil {
		return nil, err
	}
	_, facts, reference := n.made()
	return n.profile.adopt(n.slot, &state.Renewal{
		Role: n.slot.role, Key: *reference, Facts: *facts, Old: n.old.reference, Reserved: n.Reserved,
		ID: n.ID, Renewed: renewed, Unattested: n.Unattested,
	})
}

// made is where the new key is kept until it is the profile's.
func (n *renewing) made() (csr *[]byte, facts *state.KeyFacts, reference *[]byte) {
	if n.slot.role == protocol.RoleDevice {
		return &n.Start.DeviceCSR, &n.DeviceKey, &n.Keys.Device
	}
	return &n.Start.ApprovalCSR, &n.ApprovalKey, &n.Keys.Approval
}

// template is what the old key was made by, as far as a key tells.
func (n *renewing) template() hsm.Template {
	t := hsm.Template{Algorithm: hsm.ES256}
	if n.slot.role == protocol.RoleDevice {
		return t
	}
	t.Auth, t.PINBound, t.Touch = n.auth, true, n.old.facts.Touch
	if _, isRSA := n.old.Public().(*rsa.PublicKey); isRSA {
		t.Algorithm = hsm.RS256
	}
	return t
}

// make makes the new key and the first step's body.
func (n *renewing) make(ctx context.Context, old hsm.Auth) (err error) {
	csr, facts, reference := n.made()
	if n.key, err = n.newKey(ctx, n.old.provider, n.template(), facts, reference, csr); err != nil {
		return err
	}
	n.request = protocol.RenewalStart{Role: n.slot.role, CSR: *csr}
	if n.request.Succession, err = n.succession(ctx, old); err != nil {
		return err
	}
	return n.claim(ctx)
}

// succession has the old key name the new one. An approval key takes its PIN for
// that.
func (n *renewing) succession(ctx context.Context, old hsm.Auth) (compact string, err error) {
	s := n.profile.get()
	thumbprint, err := protocol.Thumbprint(n.key.Public())
	if err != nil {
		return "", err
	}
	word := &protocol.Succession{
		Issuer: s.Device, Audience: s.Issuer, Subject: s.ID, IssuedAt: time.Now().Unix(), Role: n.slot.role, Key: thumbprint,
	}
	sign := func() error {
		compact, err = protocol.SignSuccession(hsm.Signer(ctx, n.old, old), word)
		return err
	}
	if n.slot.role == protocol.RoleApproval {
		err = n.profile.try(sign)
	} else {
		err = sign()
	}
	return compact, err
}

func (n *renewing) holder() holder {
	device := n.slot.role == protocol.RoleDevice
	return holder{provider: n.old.provider, device: device, approval: !device, keys: []hsm.Key{n.key}}
}

// proved says whether the chip has proved the old key, and why not.
func (n *renewing) proved() (bool, string) {
	s := n.profile.get()
	if n.slot.role == protocol.RoleApproval {
		return s.Verdict.Attested, s.Unattested
	}
	leaf, err := x509.ParseCertificate(s.DeviceChain[0])
	if err != nil {
		return false, ""
	}
	info, err := protocol.ParseKeyInfo(leaf)
	return err == nil && info.Attestation != protocol.AttestationNone, ""
}

// claim asks the chip who it is, where it has proved the old key: else either
// the chip cannot or the server would not believe it, and whoever enrolled said
// to go without.
func (n *renewing) claim(ctx context.Context) error {
	proved, why := n.proved()
	if !proved {
		n.Unattested = why
		n.request.Attestation.Format = protocol.AttestationNone
		return nil
	}
	c, err := n.holder().claim(ctx)
	if err != nil {
		return onChip(n.old.provider.Name(), fmt.Errorf("attestation: %w", err))
	}
	n.claimed, n.request.Attestation.Format = c, c.Format
	n.holder().start(c, &n.request.Attestation)
	return nil
}

// certified takes the new key through the server's first two steps. The server
// takes both keys from then on, so that it may go wrong after the second, too.
func (n *renewing) certified(ctx context.Context) (renewed protocol.Renewed, err error) {
	var started protocol.RenewalStarted
	err = retry(ctx, func() (err error) {
		started, err = n.client.StartRenewal(ctx, n.request)
		return err
	})
	if err != nil {
		return renewed, err
	}
	if !validID(started.ID) {
		return renewed, errBadAnswer
	}
	n.ID, n.Challenge, n.Credential = started.ID, started.Challenge, started.Credential
	activation, err := n.proof(ctx)
	if err != nil {
		return renewed, err
	}
	err = retry(ctx, func() (err error) {
		renewed, err = n.client.ActivateRenewal(ctx, n.ID, activation)
		return err
	})
	if err != nil {
		return renewed, err
	}
	return renewed, certifies(unblob(renewed.Chain), n.request.CSR, n.slot.role)
}

// proof has the chip answer the server's challenge.
func (n *renewing) proof(ctx context.Context) (a protocol.RenewalActivation, err error) {
	if n.request.Attestation.Format == protocol.AttestationNone {
		return a, nil
	}
	a.Attestation = new(protocol.ProofAttestation)
	if err := n.holder().prove(ctx, n.claimed, n.challenge(), n.auth, a.Attestation); err != nil {
		return a, onChip(n.old.provider.Name(), fmt.Errorf("attestation: %w", err))
	}
	return a, nil
}

func unblob(list []protocol.Blob) [][]byte {
	out := make([][]byte, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}
