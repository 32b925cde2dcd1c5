package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/policy"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// DefaultDigits is the length of a number to match.
const DefaultDigits = 6

// MaxOTP is the longest that a code may be good for: whoever sees it may use it.
const MaxOTP = 2 * time.Minute

// defaultTypes are those of a fresh server.
func defaultTypes() []store.Type {
	const ttl = 5 * time.Minute
	return []store.Type{
		{Name: "login", Method: protocol.MethodPIN, Class: protocol.C2, TTL: ttl, Digits: DefaultDigits},
		{Name: "confirm", Method: protocol.MethodPush, Class: protocol.C1, TTL: ttl, Digits: DefaultDigits},
	}
}

// Prepare gives a server without transaction types those of a fresh one.
func (o *Office) Prepare(ctx context.Context) error {
	types, err := o.Types(ctx)
	if err != nil || len(types) > 0 {
		return err
	}
	return o.Store.Update(ctx, func(tx store.Tx) error {
		for _, t := range defaultTypes() {
			_, err := tx.Type(t.Name)
			if errors.Is(err, store.ErrNotFound) {
				err = tx.PutType(t)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Types returns all transaction types, by name.
func (o *Office) Types(ctx context.Context) (out []store.Type, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		out, err = tx.Types()
		return err
	})
	return out, err
}

// SetType adds or replaces a transaction type. Transactions that were started
// before stay as they are.
func (o *Office) SetType(ctx context.Context, t store.Type) error {
	if err := checkType(t); err != nil {
		return err
	}
	return o.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.PutType(t); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: o.Now(), Kind: "type.set", Detail: t.Name})
	})
}

func checkType(t store.Type) error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	if err := checkMethod(t); err != nil {
		return err
	}
	bad := func(why string) error { return problem.New(problem.BadType, "%s", why) }
	switch {
	case t.TTL < time.Second || t.TTL > protocol.MaxLifetime*time.Second || t.TTL%time.Second != 0:
		return bad("the ttl is not whole seconds up to 24h")
	case t.Method == protocol.MethodOTP && t.TTL > MaxOTP:
		return bad("the ttl of method otp is at most 2m: whoever sees the code may use it")
	case t.Class == protocol.C0 && t.Digits != 0:
		return bad("class C0 has no number")
	case t.Class > protocol.C0 && (t.Digits < 4 || t.Digits > 9):
		return bad("a number has 4 to 9 digits")
	}
	return checkDemands(t)
}

// checkDemands refuses demands that no key could meet, or that could not be
// meant.
func checkDemands(t store.Type) error {
	if err := policy.CheckRequire(t.Require); err != nil {
		return problem.New(problem.BadType, "%s", err.Error())
	}
	if err := policy.CheckChips(t.MinFirmware, t.DenyVendors); err != nil {
		return problem.New(problem.BadType, "%s", err.Error())
	}
	bound := slices.Contains(t.Require, store.RequirePINBound) || slices.Contains(t.Require, store.RequireTouchBound)
	if bound && protocol.RoleFor(protocol.Approve, t.Class) == protocol.RoleDevice {
		return problem.New(problem.BadType, "class %s is approved with the device key, which neither a PIN nor a touch binds", t.Class)
	}
	return nil
}

// checkMethod refuses a method that contradicts the class. Only the PIN, which
// the chip checks, makes more than C1: a fingerprint and a custom authenticator
// are the word of the operating system. A code can come from anybody's page, so
// that it takes the PIN always.
func checkMethod(t store.Type) error {
	takesPIN := t.Method == protocol.MethodPIN || t.Method == protocol.MethodOTP
	switch {
	case !protocol.ValidMethod(t.Method):
		return problem.New(problem.BadType, "the method is not one of %s", strings.Join(protocol.Methods(), ", "))
	case takesPIN && t.Class != protocol.C2 && t.Class != protocol.C3:
		return problem.New(problem.BadType, "method %s takes the PIN, which is class C2 or C3", t.Method)
	case !takesPIN && t.Class != protocol.C0 && t.Class != protocol.C1:
		return problem.New(problem.BadType, "method %s takes no PIN, so that its class is C0 or C1; %s is for more", t.Method, protocol.MethodPIN)
	}
	return nil
}
