package engine

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// ring holds the keys by which a device may sign now, by their thumbprints.
type ring map[string]ringKey

type ringKey struct {
	public  crypto.PublicKey
	info    protocol.KeyInfo
	verdict protocol.Verdict
	// until is the end of its certificate.
	until time.Time
}

// keyring returns a device's two keys and, from when a new key is certified until
// the device acknowledges it, that one too: decisions that the old one signed may
// still be on their way.
func keyring(tx store.Tx, d store.Device) (ring, error) {
	r := ring{}
	issued, err := tx.Renewals(store.RenewalFilter{Device: d.ID, States: []store.RenewalState{store.RenewalIssued}})
	if err != nil {
		return nil, err
	}
	errs := []error{r.add(d.DeviceChain, d.DeviceVerdict), r.add(d.ApprovalChain, d.Verdict)}
	for _, renewal := range issued {
		errs = append(errs, r.add(renewal.Chain, renewal.Verdict))
	}
	return r, errors.Join(errs...)
}

func (r ring) add(chain [][]byte, v protocol.Verdict) error {
	if len(chain) == 0 {
		return errors.New("engine: the device has no certificate")
	}
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("engine: stored certificate: %w", err)
	}
	info, err := protocol.ParseKeyInfo(cert)
	if err != nil {
		return fmt.Errorf("engine: stored certificate: %s", err.Error())
	}
	kid, err := protocol.Thumbprint(cert.PublicKey)
	r[kid] = ringKey{cert.PublicKey, info, v, cert.NotAfter}
	return err
}

func (r ring) keys() protocol.Keys {
	keys := protocol.Keys{}
	for kid, k := range r {
		keys[kid] = k.public
	}
	return keys
}

// stillGood refuses a key that the device has given up since it signed, and one
// whose certificate has expired: the evidence would not hold.
func (a *attempt) stillGood(tx store.Tx, now time.Time) error {
	r, err := keyring(tx, a.device)
	if err != nil {
		return err
	}
	k, ok := r[a.key]
	if !ok {
		return &protocol.Error{Code: protocol.CodeUnknownKey, Detail: "the device has another key by now"}
	}
	if now.After(k.until) {
		return problem.New(protocol.ProblemKeyExpired, "the certificate of the %s key has expired: countersign renew", k.info.Role)
	}
	a.verdict = k.verdict
	return nil
}

// chainOf is the chain of a key that a device has or had.
func chainOf(tx store.Tx, d store.Device, key string) ([][]byte, error) {
	switch key {
	case d.DeviceKey:
		return d.DeviceChain, nil
	case d.ApprovalKey:
		return d.ApprovalChain, nil
	}
	list, err := tx.Renewals(store.RenewalFilter{Device: d.ID, Key: key})
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.OldKey == key {
			return r.OldChain, nil
		}
		if len(r.Chain) > 0 {
			return r.Chain, nil
		}
	}
	return nil, errors.New("engine: no certificate of the key that signed")
}
