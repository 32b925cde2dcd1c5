package agent

import (
	"context"
	"errors"

	"countersign/agent/state"
	"countersign/hsm"
	"countersign/protocol"
)

// Leftover is something in a chip that belongs to a state directory: a key, or what
// was reserved for one.
type Leftover struct {
	// Owner is whose it is: a profile by its account, or what was under way.
	Owner string
	// Role is the key's, or "".
	Role string
	// Provider is the chip's back end, Place where in the chip it is, where that
	// can be found out.
	Provider, Place string
	// Err says why it is still there; nil once it is gone.
	Err error

	key, reservation []byte
	// inChip says that the chip itself holds something: a TPM knows nothing of its
	// keys but the counters of their PINs.
	inChip bool
}

// String names it for people.
func (l Leftover) String() string {
	text := l.Owner + ": " + l.Provider
	if l.Role != "" {
		text += ", key for " + l.Role
	}
	if l.Place != "" {
		text += ", " + l.Place
	}
	return text
}

// Leftovers lists what a state directory has in chips. No service may use the
// directory meanwhile. What of the state cannot be read is reported in the error
// and does not hide the rest.
func Leftovers(dir *state.Dir) ([]Leftover, error) {
	profiles, err1 := ofProfiles(dir)
	enrollments, err2 := ofEnrollments(dir)
	reservations, err3 := ofReservations(dir)
	return append(append(profiles, enrollments...), reservations...), errors.Join(err1, err2, err3)
}

func ofProfiles(dir *state.Dir) (list []Leftover, err error) {
	profiles, err := dir.Profiles()
	for _, p := range profiles {
		owner := "profile " + p.User + " at " + p.Issuer
		list = append(list, ofKeys(owner, p.Keys, p.DeviceKey, p.ApprovalKey)...)
		for role, facts := range map[protocol.Role]state.KeyFacts{protocol.RoleDevice: p.DeviceKey, protocol.RoleApproval: p.ApprovalKey} {
			r, bad := dir.Renewal(p.ID, role)
			if bad != nil {
				err = errors.Join(err, bad)
			} else if r != nil {
				list = append(list, Leftover{Owner: owner + ", before its renewal", Role: string(role), Provider: facts.Provider, key: r.Old, inChip: inChip(facts)})
			}
		}
	}
	return list, err
}

func ofEnrollments(dir *state.Dir) (list []Leftover, err error) {
	enrollments, err := dir.Enrollments()
	for _, e := range enrollments {
		list = append(list, ofKeys("enrollment under way at "+e.Server, e.Keys, e.DeviceKey, e.ApprovalKey)...)
	}
	return list, err
}

func ofKeys(owner string, keys state.Keys, device, approval state.KeyFacts) []Leftover {
	return []Leftover{
		{Owner: owner, Role: string(protocol.RoleDevice), Provider: device.Provider, key: keys.Device, inChip: inChip(device)},
		{Owner: owner, Role: string(protocol.RoleApproval), Provider: approval.Provider, key: keys.Approval, inChip: inChip(approval)},
	}
}

func inChip(facts state.KeyFacts) bool {
	return facts.Provider != kindTPM || hsm.Counter(facts.Counter) == hsm.CounterIndex
}

func ofReservations(dir *state.Dir) (list []Leftover, err error) {
	reservations, err := dir.Reservations()
	for _, r := range reservations {
		list = append(list, Leftover{Owner: "what an enrollment left", Provider: r.Provider, key: r.Key, reservation: r.Data})
	}
	return list, err
}

// Remove removes it from its chip, with nobody's help, and fills in Place and Err.
// What is not in the chip any more is removed.
func (l *Leftover) Remove(ctx context.Context, providers []hsm.Provider) {
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	p := chips(providers).named(l.Provider)
	if len(l.key) == 0 {
		l.Err = onChip(p.Name(), p.Release(ctx, l.reservation))
		return
	}
	if l.inChip {
		l.Place = place(ctx, p, l.key)
	}
	l.Err = deleteKey(ctx, p, l.key, hsm.Auth{})
}

// place is where in its chip a key is, or "".
func place(ctx context.Context, p hsm.Provider, reference []byte) string {
	key, err := p.Open(ctx, reference)
	if err != nil {
		return ""
	}
	inspector, can := key.(hsm.Inspector)
	if !can {
		return ""
	}
	health, err := inspector.Inspect(ctx)
	if err != nil {
		return ""
	}
	return health.Place
}

// Trouble says, for people, why it is still there and what removes it; "" once it
// is gone.
func (l Leftover) Trouble() string {
	if l.Err == nil {
		return ""
	}
	e := chipError(l.Err)
	if l.Provider == kindPIV {
		e.Cure = "with the token's own tool, delete the key and the certificate there"
	}
	return e.Message + ": " + e.Cure
}
