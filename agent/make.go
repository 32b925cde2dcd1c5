package agent

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/internal/secret"
)

// prepare makes the keys and what the server will be told, all of it durable
// before the server hears of it. On failure nothing stays in a chip, or what
// stays is in the journal.
func (n *enrolling) prepare(ctx context.Context, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	err := n.make(ctx, p)
	if err == nil {
		err = n.agent.cfg.State.BeginEnrollment(n.Enrollment)
	}
	if err != nil {
		n.agent.reserved.drop(n.Reserved...)
		return errors.Join(err, n.discardKeys())
	}
	if err := n.agent.reserved.settle(n.Reserved); err != nil {
		return errors.Join(err, n.abandon())
	}
	return nil
}

// make makes both keys and has the chips say what they can prove.
func (n *enrolling) make(ctx context.Context, p plan) error {
	device := hsm.Template{Token: p.template.Token, KeepAdmin: p.template.KeepAdmin}
	if p.device.Name() != kindTPM {
		device.Auth = n.auth // the token asks for it to make any key
	}
	var made [2]hsm.Key
	var err error
	if made[0], err = n.newKey(ctx, p.device, device, &n.DeviceKey, &n.Keys.Device, &n.Start.DeviceCSR); err != nil {
		return err
	}
	p.template.Auth = n.auth
	if made[1], err = n.newKey(ctx, p.approval, p.template, &n.ApprovalKey, &n.Keys.Approval, &n.Start.ApprovalCSR); err != nil {
		return err
	}
	if p.silent {
		n.noClaim("the enrollment was asked to leave it out")
		return nil
	}
	return n.claim(ctx, made[0], made[1])
}

// newKey makes one key and a CSR that proves its possession. The reference is
// set as soon as there is a key.
func (n *enrolling) newKey(ctx context.Context, p hsm.Provider, t hsm.Template, facts *state.KeyFacts, reference, csr *[]byte) (hsm.Key, error) {
	t.Reserve = func(data []byte) error {
		name, err := n.agent.reserved.reserve(state.Reservation{Provider: p.Name(), UID: n.UID, Data: data})
		if err == nil {
			n.Reserved = append(n.Reserved, name)
		}
		return err
	}
	chip, err := chipOf(ctx, p)
	if err != nil {
		return nil, err
	}
	key, err := p.Create(ctx, t)
	if err != nil {
		return nil, onChip(p.Name(), err)
	}
	if t.KeepAdmin && p.Name() != kindTPM {
		// The token has a new management key by now, and keeps it itself.
		n.auth.Admin = secret.Value{}
	}
	*reference = key.Reference()
	made := key.Protection()
	*facts = state.KeyFacts{Provider: p.Name(), Counter: string(made.Counter), Touch: made.Touch, Chip: chip}
	auth := hsm.Auth{Touch: t.Auth.Touch}
	if t.PINBound {
		auth.PIN = t.PIN
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "countersign"}}
	*csr, err = x509.CreateCertificateRequest(rand.Reader, template, hsm.Signer(ctx, key, auth))
	return key, onChip(p.Name(), err)
}

// discardKeys deletes the keys of an enrollment that will never be. One that
// its chip does not give up now goes into the journal: the sweeper tries again,
// and where it takes a person, the list of keys says so.
func (n *enrolling) discardKeys() error {
	ctx, cancel := context.WithTimeout(context.Background(), signWait)
	defer cancel()
	var errs []error
	for _, k := range []struct {
		provider  string
		reference []byte
	}{{n.DeviceKey.Provider, n.Keys.Device}, {n.ApprovalKey.Provider, n.Keys.Approval}} {
		if len(k.reference) == 0 {
			continue
		}
		if err := deleteKey(ctx, n.agent.chips.named(k.provider), k.reference, n.auth); err != nil {
			n.log.Warn("key of a broken enrollment not deleted yet", "provider", k.provider, "error", err)
			errs = append(errs, n.agent.reserved.orphan(k.provider, n.UID, k.reference))
		}
	}
	return errors.Join(errs...)
}

// abandon deletes the keys of an enrollment that will never be, then forgets
// it. The enrollment stays for the next start where the journal fails.
func (n *enrolling) abandon() error {
	if err := n.discardKeys(); err != nil {
		return err
	}
	n.agent.note(failed(n.Enrollment))
	return n.agent.cfg.State.AbandonEnrollment(n.Enrollment)
}
