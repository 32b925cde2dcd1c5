package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/policy"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Start is what a relying party asks for.
type Start struct {
	Type string
	User string
	// Device is the only one to ask, or "" for all of the user's.
	Device      string
	Message     string
	Details     []protocol.Detail
	Context     *protocol.Context
	SigningData string
}

// Start begins a transaction and asks the user's devices. It refuses, as
// *protocol.Problem or *protocol.Error, what nobody could be asked.
func (e *Engine) Start(ctx context.Context, client store.Client, s Start) (*Status, error) {
	var typ store.Type
	var devices []store.Device
	err := e.store.View(ctx, func(tx store.Tx) (err error) {
		typ, devices, err = e.addressees(tx, client.ID, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	t, err := e.newTransaction(client, s, typ)
	if err != nil {
		return nil, err
	}
	requests, err := e.requests(t, s, typ, devices)
	if err != nil {
		return nil, err
	}
	err = e.store.Update(ctx, func(tx store.Tx) error {
		// Signing took its time: nobody is asked who may not be any more.
		if _, _, err := e.addressees(tx, client.ID, s); err != nil {
			return err
		}
		if err := tx.AddTransaction(t, requests); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: t.CreatedAt, Kind: "transaction.started", User: t.User, Client: t.ClientID, Transaction: t.ID, Detail: t.Type})
	})
	if err != nil {
		return nil, fmt.Errorf("engine: start: %w", err)
	}
	st := &Status{Transaction: t, Devices: addressed(requests)}
	e.wake(t.ID, st.Devices)
	return st, nil
}

// addressees finds the type and who to ask.
func (e *Engine) addressees(tx store.Tx, client string, s Start) (typ store.Type, devices []store.Device, err error) {
	if typ, err = typeOf(tx, s.Type); err != nil {
		return typ, nil, err
	}
	if typ.Method == protocol.MethodOTP {
		return typ, nil, problem.New(protocol.ProblemBadRequest, "a transaction of this type names no user: whoever redeems its code is asked")
	}
	if err := askable(tx, s.User); err != nil {
		return typ, nil, err
	}
	devices, err = tx.Devices(store.DeviceFilter{ID: s.Device, User: s.User, States: []store.DeviceState{store.DeviceActive}})
	if err != nil {
		return typ, nil, err
	}
	if len(devices) == 0 {
		return typ, nil, problem.New(problem.NoDevice, "the user has no such device that is active")
	}
	now := e.now()
	var able []store.Device
	var why error
	for _, d := range devices {
		switch refused, err := e.unasked(tx, client, d, typ, now); {
		case err != nil:
			return typ, nil, err
		case refused == nil:
			able = append(able, d)
		case why == nil:
			why = refused
		}
	}
	if len(able) == 0 {
		return typ, nil, why
	}
	return typ, able, nil
}

// unasked says why an active device is not asked, or is nil.
func (e *Engine) unasked(tx store.Tx, client string, d store.Device, typ store.Type, now time.Time) (refused, err error) {
	if d.Suspended != "" {
		return problem.New(problem.NoDevice, "the user's device is suspended"), nil
	}
	blocks, err := tx.Blocks(store.BlockFilter{Device: d.ID, Client: client})
	if err != nil {
		return nil, err
	}
	if len(blocks) > 0 {
		return problem.New(problem.ClientBlocked, "the user has said of a request of yours that it was not theirs, and lifts this block or not"), nil
	}
	if held := e.held(d, typ, now); held != nil {
		return held, nil
	}
	if why := unmet(d, typ); why != "" {
		return policyUnmet(why), nil
	}
	return nil, nil
}

// held refuses a transaction of high value on a device that was enrolled lately:
// whoever got hold of a link would use it at once.
func (e *Engine) held(d store.Device, typ store.Type, now time.Time) error {
	if until := d.ChangedAt.Add(e.hold); typ.HighValue && now.Before(until) {
		return problem.New(problem.HighValueHold, "the device was enrolled lately; it is asked for what is of high value from %s on", until.UTC().Format(time.RFC3339))
	}
	return nil
}

func policyUnmet(why string) error {
	return problem.New(protocol.ProblemPolicy, "the device does not meet the type's policy: %s", why)
}

// askable refuses a user who is unknown or locked.
func askable(tx store.Tx, name string) error {
	user, err := tx.User(name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return problem.New(problem.UserUnknown, "there is no user of this name")
	case err != nil:
		return err
	case user.Locked:
		p := problem.New(protocol.ProblemUserLocked, "the user is locked")
		p.Status = http.StatusUnprocessableEntity
		return p
	}
	return nil
}

// unmet says why a device cannot answer a type, or is "": by the verdict on the
// key that would sign an approval.
func unmet(d store.Device, t store.Type) string {
	v := d.VerdictOn(protocol.RoleFor(protocol.Approve, t.Class))
	if t.Class >= protocol.C3 && !v.TouchBound {
		return "the key is not " + store.RequireTouchBound
	}
	return policy.Unmet(v, t)
}

func (e *Engine) newTransaction(client store.Client, s Start, typ store.Type) (store.Transaction, error) {
	number, err := newNumber(typ.Digits)
	if err != nil {
		return store.Transaction{}, err
	}
	now := e.second()
	return store.Transaction{
		ID: store.NewID("t_"), ClientID: client.ID, ClientName: client.Name, User: s.User,
		Type: typ.Name, Method: typ.Method, Class: typ.Class, Number: number,
		State: protocol.StatePending, CreatedAt: now, ExpiresAt: now.Add(typ.TTL),
	}, nil
}

// newNumber draws a number of so many digits, leading zeros kept.
func newNumber(digits int) (string, error) {
	if digits == 0 {
		return "", nil
	}
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return "", fmt.Errorf("engine: %w", err)
	}
	return fmt.Sprintf("%0*d", digits, n), nil
}

// requests signs the request of each device.
func (e *Engine) requests(t store.Transaction, s Start, typ store.Type, devices []store.Device) ([]store.Request, error) {
	out := make([]store.Request, len(devices))
	for i, d := range devices {
		compact, err := e.request(t, s, typ, d, "")
		if err != nil {
			return nil, err
		}
		out[i] = store.Request{Transaction: t.ID, Device: d.ID, Compact: compact}
	}
	return out, nil
}

// request signs the request of a device, which a code from origin brought to it
// unless that is "".
func (e *Engine) request(t store.Transaction, s Start, typ store.Type, d store.Device, origin string) (string, error) {
	r := protocol.Request{
		Issuer: e.nameFor(d), Audience: d.ID, Subject: d.Profile, ID: t.ID, IssuedAt: t.CreatedAt.Unix(), ExpiresAt: t.ExpiresAt.Unix(),
		Type: t.Type, Method: t.Method, Class: t.Class,
		Client:  protocol.Client{ID: t.ClientID, Name: t.ClientName},
		Message: s.Message, Details: s.Details, Context: s.Context, SigningData: s.SigningData,
		HighValue: typ.HighValue, Origin: origin,
	}
	if typ.Digits > 0 {
		r.NumberMatch = &protocol.NumberMatch{Digits: typ.Digits}
	}
	compact, err := protocol.SignRequest(e.pki.SignerFor(d.TrustSeq), &r)
	if err == nil && len(compact) > protocol.MaxMessage {
		err = problem.New(protocol.ProblemBodyTooLarge, "the approval request would be over %d bytes", protocol.MaxMessage)
	}
	return compact, err
}

func addressed(requests []store.Request) []string {
	out := make([]string, len(requests))
	for i, r := range requests {
		out[i] = r.Device
	}
	return out
}

// over reports whether a transaction's time is over.
func over(t store.Transaction, now time.Time) bool { return !now.Before(t.ExpiresAt) }
