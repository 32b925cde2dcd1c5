package enroll

import (
	"slices"

	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/policy"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Attestation is what the operator demands of the chips of new devices. The
// zero value lets in devices that prove nothing.
type Attestation struct {
	// RefuseNone refuses attestation format "none".
	RefuseNone bool
	// Require holds the Require constants of store, for every approval key;
	// attested is for the device key too.
	Require []string
}

// Validate refuses what is not a policy.
func (a Attestation) Validate() error {
	if err := policy.CheckRequire(a.Require); err != nil {
		return problem.New(problem.BadConfig, "attestation: %s", err.Error())
	}
	return nil
}

// check refuses a device whose keys are not what the operator demands.
func (a Attestation) check(d store.Device) error {
	refuse := func(why string) error {
		return problem.New(protocol.ProblemPolicy, "this server does not let such a device in: %s", why)
	}
	if a.RefuseNone && d.Verdict.Format == protocol.AttestationNone {
		return problem.New(protocol.ProblemAttestation, "this server lets no device in that does not prove what holds its keys")
	}
	if lacks := policy.Lacks(d.Verdict, a.Require); lacks != "" {
		return refuse("approval key: " + lacks)
	}
	if slices.Contains(a.Require, store.RequireAttested) && !d.DeviceVerdict.Attested {
		return refuse("device key: the key is not " + store.RequireAttested)
	}
	return nil
}

// open judges how an attestation begins. One that claims nothing is the only
// one whose verdict is known by now.
func (s *Service) open(a *applicant) error {
	if a.attestation.Start.Format == protocol.AttestationNone {
		if err := s.Attestation.check(a.device); err != nil {
			return err
		}
	}
	keys, err := a.keys()
	if err != nil {
		return err
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	opened, err := attest.Open(trust, a.attestation.Start, keys)
	a.attestation.Credential, a.attestation.Secret = opened.Credential, opened.Secret
	return err
}

// judge takes the proof and gives the device its verdicts.
func (s *Service) judge(a *applicant, proof *protocol.ProofAttestation) error {
	keys, err := a.keys()
	if err != nil {
		return err
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	found, err := attest.Verify(trust, attest.Case{
		Start: a.attestation.Start, Proof: proof, Nonce: a.device.Challenge, Secret: a.attestation.Secret, Keys: keys,
	})
	if err != nil {
		return err
	}
	a.attestation.Proof = proof
	a.device.Verdict = attest.Verdict(found.Approval, a.device.Facts)
	a.device.DeviceVerdict = attest.Verdict(found.Device, a.device.Facts)
	return s.Attestation.check(a.device)
}

// keys are those that the device asked certificates for, which was checked.
func (a *applicant) keys() (attest.Keys, error) {
	device, err := pki.ParseCSR(a.device.DeviceCSR, protocol.RoleDevice)
	if err != nil {
		return attest.Keys{}, internal("stored request", err)
	}
	approval, err := pki.ParseCSR(a.device.ApprovalCSR, protocol.RoleApproval)
	if err != nil {
		return attest.Keys{}, internal("stored request", err)
	}
	return attest.Keys{Device: device, Approval: approval}, nil
}

func (s *Service) trust() (attest.Trust, error) {
	pool, err := s.Roots()
	if err != nil {
		return attest.Trust{}, internal("attestation roots", err)
	}
	return attest.Trust{Roots: pool, Now: s.Now()}, nil
}
