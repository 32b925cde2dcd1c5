package enroll

import (
	"time"

	"countersign/protocol"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Mode says how many devices a user may have.
type Mode string

// The modes.
const (
	// ModeSingle refuses a second device.
	ModeSingle Mode = "single"
	// ModeOverride lets a new device replace the old.
	ModeOverride Mode = "override"
	// ModeMultiple allows up to Policy.Max.
	ModeMultiple Mode = "multiple"
)

// DefaultLifetime is how long the certificates of a device's keys are good for.
const DefaultLifetime = 365 * 24 * time.Hour

// Policy is what the operator decided about enrollment.
type Policy struct {
	Mode Mode
	// Max is the number of devices per user with ModeMultiple.
	Max int
	// Algorithm is the only one that approval keys may have, ES256 or RS256;
	// "" takes both.
	Algorithm string
}

// DefaultPolicy allows several devices, so that a lost one locks nobody out.
func DefaultPolicy() Policy { return Policy{Mode: ModeMultiple, Max: 20} }

// Validate refuses what is not a policy.
func (p Policy) Validate() error {
	switch {
	case p.Algorithm != "" && p.Algorithm != protocol.ES256 && p.Algorithm != protocol.RS256:
		return problem.New(problem.BadConfig, "the algorithm of approval keys is ES256, RS256 or empty for both")
	case p.Mode == ModeSingle || p.Mode == ModeOverride:
		return nil
	case p.Mode == ModeMultiple && p.Max >= 1 && p.Max <= 1000:
		return nil
	}
	return problem.New(problem.BadConfig, "the enrollment mode is single, override or multiple, the latter with a maximum of 1 to 1000")
}

// limit is the number of devices a user may have; with ModeOverride, where the
// new one replaces the others, the number does not matter.
func (p Policy) limit() int {
	if p.Mode == ModeSingle {
		return 1
	}
	return p.Max
}

// checkAlgorithm refuses an approval key of an algorithm that is not wanted.
func (p Policy) checkAlgorithm(approvalCSR []byte) error {
	key, err := pki.ParseCSR(approvalCSR, protocol.RoleApproval)
	if err != nil {
		return internal("read request", err)
	}
	if alg, err := protocol.Algorithm(key); err != nil || p.Algorithm != "" && alg != p.Algorithm {
		return problem.New(protocol.ProblemAlgorithm, "this server takes approval keys of %s", p.Algorithm)
	}
	return nil
}

// checkUser refuses a device that the user may not have now.
func (s *Service) checkUser(tx store.Tx, d store.Device) error {
	user, err := tx.User(d.User)
	if err != nil {
		return err
	}
	if user.Locked {
		return problem.New(protocol.ProblemUserLocked, "the user is locked")
	}
	if d.Replaces == store.ReplacesAll {
		return nil
	}
	others, err := tx.Devices(store.DeviceFilter{User: d.User, States: []store.DeviceState{store.DeviceActive, store.DeviceUnconfirmed}})
	if err != nil {
		return err
	}
	n := 0
	for _, o := range others {
		if o.ID != d.ID && o.ID != d.Replaces {
			n++
		}
	}
	if n >= s.Policy.limit() {
		return problem.New(protocol.ProblemDeviceLimit, "the user has as many devices as are allowed")
	}
	return nil
}
