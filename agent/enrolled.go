package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"countersign/agent/state"
	"countersign/protocol"
)

// newStored checks that the server certified the very keys it was given.
func newStored(e *state.Enrollment, answer protocol.Enrolled) (state.Profile, error) {
	for _, k := range []struct {
		chain [][]byte
		csr   []byte
		role  protocol.Role
	}{{answer.DeviceChain, e.Start.DeviceCSR, protocol.RoleDevice}, {answer.ApprovalChain, e.Start.ApprovalCSR, protocol.RoleApproval}} {
		if err := certifies(k.chain, k.csr, k.role); err != nil {
			return state.Profile{}, err
		}
	}
	if _, err := protocol.ParseJWKS(answer.JWKS); err != nil {
		return state.Profile{}, err
	}
	if !plausible(answer) {
		return state.Profile{}, errBadAnswer
	}
	s := state.Profile{
		ID: answer.Profile, Device: answer.Device, User: answer.User, Issuer: answer.Issuer, DeviceURL: answer.DeviceURL,
		Root: e.Root, UID: e.UID, Name: e.Start.Device.Name, Provider: e.ApprovalKey.Provider,
		DeviceKey: e.DeviceKey, ApprovalKey: e.ApprovalKey, Verdict: answer.Attestation, Unattested: e.Unattested,
		DeviceChain: answer.DeviceChain, ApprovalChain: answer.ApprovalChain, JWKS: answer.JWKS,
		EnrolledAt: time.Now().UTC(), State: state.Active, Keys: e.Keys,
	}
	if answer.Confirm {
		s.State = state.Unconfirmed
	}
	return s, nil
}

// plausible reports whether an answer's names can be stored and shown: they
// name directories, and stand in terminals.
func plausible(a protocol.Enrolled) bool {
	return validID(a.Profile) && validID(a.Device) && protocol.ValidIssuer(a.Issuer) && protocol.ValidIssuer(a.DeviceURL) &&
		a.User != "" && protocol.CheckText("user", a.User, maxUser) == nil
}

var errBadAnswer = errors.New("the server's answer to the enrollment is not the protocol's")

func certifies(chain [][]byte, csr []byte, role protocol.Role) error {
	if len(chain) == 0 {
		return errBadAnswer
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return errBadAnswer
	}
	info, err := protocol.ParseKeyInfo(leaf)
	if err != nil {
		return err
	}
	want, err := protocol.Thumbprint(req.PublicKey)
	if err != nil {
		return err
	}
	if got, err := protocol.Thumbprint(leaf.PublicKey); err != nil || got != want || info.Role != role {
		return errBadAnswer
	}
	return nil
}

// validID accepts what may name a directory.
func validID(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 8 && len(s) <= 64
}
