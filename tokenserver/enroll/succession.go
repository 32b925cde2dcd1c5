package enroll

import (
	"crypto"
	"crypto/x509"
	"slices"
	"strings"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// successor returns the new key if the present one has named it as its
// successor, for this device and here.
func (s *Service) successor(d store.Device, req protocol.RenewalStart) (crypto.PublicKey, error) {
	if req.Role != protocol.RoleApproval && req.Role != protocol.RoleDevice {
		return nil, problem.New(protocol.ProblemBadRequest, "a role is device or approval")
	}
	key, err := pki.ParseCSR(req.CSR, req.Role)
	if err != nil {
		return nil, problem.New(protocol.ProblemBadCSR, "csr: %s", strings.TrimPrefix(err.Error(), "pki: "))
	}
	if req.Role == protocol.RoleApproval {
		if err := s.Policy.checkAlgorithm(req.CSR); err != nil {
			return nil, err
		}
	}
	thumbprint, err := protocol.Thumbprint(key)
	if err != nil {
		return nil, err
	}
	old, err := s.predecessor(d.ChainOf(req.Role))
	if err != nil {
		return nil, err
	}
	word, err := protocol.ParseSuccession(req.Succession, old)
	if err != nil {
		return nil, err
	}
	// When it was signed does not matter: a key of the past signs for nobody,
	// and no successor can be named twice.
	want := protocol.Succession{
		Issuer: d.ID, Audience: s.audience(word), Subject: d.Profile, IssuedAt: word.IssuedAt, Role: req.Role, Key: thumbprint,
	}
	if *word != want {
		return nil, badSuccession("the present key has named another key, or for another device or server")
	}
	return key, nil
}

// audience is the server's name in a word: each that it has, or had, counts.
func (s *Service) audience(word *protocol.Succession) string {
	if slices.Contains(s.PKI.Names(), word.Audience) {
		return word.Audience
	}
	return s.Issuer
}

func badSuccession(why string) error { return problem.New(protocol.ProblemSuccession, "%s", why) }

// predecessor is the key that a stored chain certifies, unless its certificate
// expired too long ago.
func (s *Service) predecessor(chain [][]byte) (crypto.PublicKey, error) {
	if len(chain) == 0 {
		return nil, internal("stored certificate", x509.ErrUnsupportedAlgorithm)
	}
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, internal("stored certificate", err)
	}
	if s.Now().After(cert.NotAfter.Add(pki.RenewalGrace)) {
		return nil, problem.New(protocol.ProblemCertExpired, "the certificate of the present key expired too long ago: enroll again")
	}
	return cert.PublicKey, nil
}

// openRenewal judges how the attestation of a new key begins. One that claims
// nothing is judged here: what the old key has proved, the new one proves too.
func (s *Service) openRenewal(d store.Device, r *store.Renewal, key crypto.PublicKey) error {
	if r.Request.Attestation.Format == protocol.AttestationNone {
		if err := s.admits(d, r.Request.Role, attest.Verdict(nil, d.Facts)); err != nil {
			return err
		}
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	opened, err := attest.Open(trust, r.Request.Attestation, attestKeys(r.Request.Role, key))
	r.Credential, r.Secret = opened.Credential, opened.Secret
	return err
}

// judgeRenewal takes the proof and gives the new key its verdict.
func (s *Service) judgeRenewal(d store.Device, r *store.Renewal, proof *protocol.ProofAttestation) error {
	role := r.Request.Role
	key, err := pki.ParseCSR(r.Request.CSR, role)
	if err != nil {
		return internal("stored request", err)
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	found, err := attest.Verify(trust, attest.Case{
		Start: r.Request.Attestation, Proof: proof, Nonce: r.Challenge, Secret: r.Secret, Keys: attestKeys(role, key),
	})
	if err != nil {
		return err
	}
	finding := found.Approval
	if role == protocol.RoleDevice {
		finding = found.Device
	}
	r.Proof, r.Verdict = proof, attest.Verdict(finding, d.Facts)
	return s.admits(d, role, r.Verdict)
}

// attestKeys are the new key alone, in its role.
func attestKeys(role protocol.Role, key crypto.PublicKey) attest.Keys {
	if role == protocol.RoleDevice {
		return attest.Keys{Device: key}
	}
	return attest.Keys{Approval: key}
}

// withVerdict is the device as it will be with a new key.
func withVerdict(d store.Device, role protocol.Role, v protocol.Verdict) store.Device {
	if role == protocol.RoleDevice {
		d.DeviceVerdict = v
	} else {
		d.Verdict = v
	}
	return d
}

// admits refuses a new key that is less than the old one, or less than the
// operator demands by now.
func (s *Service) admits(d store.Device, role protocol.Role, v protocol.Verdict) error {
	if err := notLower(v, d.VerdictOn(role)); err != nil {
		return err
	}
	return s.Attestation.check(withVerdict(d, role, v))
}

// notLower holds a new key to the protection of the old one: whoever has the
// PIN could else move the approvals to a key that is in no chip.
func notLower(v, old protocol.Verdict) error {
	for _, p := range []struct {
		had, has bool
		what     string
	}{
		{old.Attested, v.Attested, store.RequireAttested},
		{old.PINBound, v.PINBound, store.RequirePINBound},
		{old.TouchBound, v.TouchBound, store.RequireTouchBound},
	} {
		if p.had && !p.has {
			return problem.New(protocol.ProblemPolicy, "the present key is %s, and the new one is not", p.what)
		}
	}
	return nil
}
