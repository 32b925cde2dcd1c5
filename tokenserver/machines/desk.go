package machines

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"countersign/internal/secret"
	"countersign/protocol"
	"countersign/tokenserver/attest"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// ReasonRevoked is why a machine is revoked by its operator.
const ReasonRevoked = "revoked"

// Desk is the operator's side. It works beside a running server, in its process or
// another.
type Desk struct {
	Store store.Store
	Now   func() time.Time
}

// MakeToken makes a token for so many machines, to be shown once.
func (k *Desk) MakeToken(ctx context.Context, uses int, ttl time.Duration, note string) (secret.Value, store.MachineToken, error) {
	if err := protocol.CheckText("the note", note, maxNote); err != nil {
		return secret.Value{}, store.MachineToken{}, err
	}
	text, now := rand.Text(), k.Now()
	t := store.MachineToken{ID: store.NewID("k_"), Hash: store.HashSecret(text), Note: note, Uses: uses, ExpiresAt: now.Add(ttl), CreatedAt: now}
	err := k.Store.Update(ctx, func(tx store.Tx) error {
		return errors.Join(tx.AddMachineToken(t), tx.AddEvent(store.Event{At: now, Kind: "machine.token_created", Detail: t.ID}))
	})
	return secret.New([]byte(text)), t, err
}

// maxNote bounds a note and a name, in bytes.
const maxNote = 128

// Tokens returns all tokens, oldest first.
func (k *Desk) Tokens(ctx context.Context) (list []store.MachineToken, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		list, err = tx.MachineTokens()
		return err
	})
	return list, err
}

// RevokeToken ends a token for good. Machines that it let in stay.
func (k *Desk) RevokeToken(ctx context.Context, id string) (t store.MachineToken, err error) {
	err = k.Store.Update(ctx, func(tx store.Tx) error {
		if t, err = tx.MachineToken(id); errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.MachineUnknown, "there is no such machine token")
		}
		if err != nil || !t.RevokedAt.IsZero() {
			return err
		}
		t.RevokedAt = k.Now()
		return errors.Join(tx.RevokeMachineToken(id, t.RevokedAt), tx.AddEvent(store.Event{At: t.RevokedAt, Kind: "machine.token_revoked", Detail: id}))
	})
	return t, err
}

// ReadEK is the name of the endorsement key in a file: PEM or DER of the key or of
// its certificate.
func ReadEK(file []byte) (string, error) {
	spki, err := attest.MachineEK(file)
	if err != nil {
		return "", err
	}
	return protocol.EKName(spki), nil
}

// Register adds endorsement keys whose machines may enroll without a token, all of
// them or none. One whose machine was revoked may enroll again.
func (k *Desk) Register(ctx context.Context, keys []store.RegisteredEK) error {
	now := k.Now()
	for i := range keys {
		if err := protocol.CheckText("the name", keys[i].Name, maxNote); err != nil {
			return err
		}
		keys[i].CreatedAt = now
	}
	return k.Store.Update(ctx, func(tx store.Tx) error {
		for _, key := range keys {
			if err := errors.Join(tx.RegisterEK(key), tx.AddEvent(store.Event{At: now, Kind: "machine.registered", Detail: key.EK})); err != nil {
				return err
			}
		}
		return nil
	})
}

// Line is a machine, or an endorsement key that is registered and has not come
// yet.
type Line struct {
	store.Machine
	// Registered is nil where the operator has not registered the key.
	Registered *store.RegisteredEK
}

// Came reports whether there is more to the line than that its key is registered.
func (l Line) Came() bool { return l.ID != "" }

// Machines returns all machines, oldest first, and behind them who is awaited.
func (k *Desk) Machines(ctx context.Context) (list []Line, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		known, err := tx.Machines(store.MachineFilter{})
		if err != nil {
			return err
		}
		registered, err := tx.RegisteredEKs()
		if err != nil {
			return err
		}
		list = lines(known, registered)
		return nil
	})
	return list, err
}

func lines(known []store.Machine, registered []store.RegisteredEK) []Line {
	names := map[string]store.RegisteredEK{}
	for _, r := range registered {
		names[r.EK] = r
	}
	var list []Line
	for _, m := range known {
		l := Line{Machine: m}
		if r, ok := names[m.EK]; ok {
			l.Registered = &r
			delete(names, m.EK)
		}
		list = append(list, l)
	}
	for _, r := range registered {
		if _, awaited := names[r.EK]; awaited {
			list = append(list, Line{Machine: store.Machine{EK: r.EK}, Registered: &r})
		}
	}
	return list
}

// Machine finds a machine by its id or the name of its endorsement key, with what
// it proved when it enrolled.
func (k *Desk) Machine(ctx context.Context, id string) (l Line, proved store.MachineEnrollment, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		if l.Machine, err = findMachine(tx, id); err != nil {
			return err
		}
		if r, err := tx.RegisteredEK(l.EK); err == nil {
			l.Registered = &r
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		proved, err = tx.MachineEnrollmentOf(l.Key)
		return err
	})
	return l, proved, err
}

func findMachine(tx store.Tx, id string) (m store.Machine, err error) {
	f := store.MachineFilter{ID: id}
	if ek, err := protocol.ParseEKName(id); err == nil {
		f = store.MachineFilter{EK: ek}
	}
	m, err = store.One(tx.Machines(f))
	if id == "" || errors.Is(err, store.ErrNotFound) {
		return m, problem.New(problem.MachineUnknown, "there is no such machine")
	}
	return m, err
}

// Revoke puts a machine out at once, and its endorsement key off the list of those
// registered: it stays out until that is registered again. A key that no machine
// has come with is taken off the list.
func (k *Desk) Revoke(ctx context.Context, id string) (m store.Machine, err error) {
	err = k.Store.Update(ctx, func(tx store.Tx) error {
		m, err = findMachine(tx, id)
		if p, ok := errors.AsType[*protocol.Problem](err); ok && p.Code == problem.MachineUnknown {
			return k.unregister(tx, id, err)
		}
		if err != nil {
			return err
		}
		if err := tx.UnregisterEK(m.EK); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if m.State == store.MachineRevoked {
			return nil
		}
		m.State, m.Reason = store.MachineRevoked, ReasonRevoked
		return errors.Join(tx.RevokeMachine(m.ID, ReasonRevoked), tx.AddEvent(store.Event{At: k.Now(), Kind: "machine.revoked", Machine: m.ID, Detail: ReasonRevoked}))
	})
	return m, err
}

func (k *Desk) unregister(tx store.Tx, id string, unknown error) error {
	ek, err := protocol.ParseEKName(id)
	if err != nil {
		return unknown
	}
	if err := tx.UnregisterEK(ek); errors.Is(err, store.ErrNotFound) {
		return unknown
	} else if err != nil {
		return err
	}
	return tx.AddEvent(store.Event{At: k.Now(), Kind: "machine.unregistered", Detail: ek})
}
