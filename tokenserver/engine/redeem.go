package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/limit"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// How often codes are looked up: far more than people do, and far too little to
// find one of 130 bits.
const (
	redeemsOfDevice = 10
	redeemsOfAll    = 1000
	redeemWindow    = time.Minute
)

// Redeem gives the transaction that a code stands for to the device with this
// key, the first that comes; the same device gets the same request again. A code
// that is unknown, over, or another device's is refused in the same words.
func (e *Engine) Redeem(ctx context.Context, key string, r protocol.OTPRedemption) (out protocol.OTPRedeemed, err error) {
	switch {
	case protocol.CheckOTP(r.OTP) != nil:
		return out, problem.New(protocol.ProblemBadRequest, "otp is not a code")
	case !protocol.ValidOrigin(r.Origin):
		return out, problem.New(protocol.ProblemBadRequest, "origin is unknown")
	}
	if err := e.redeemsTooOften(key); err != nil {
		return out, err
	}
	var bid *redemption
	err = e.store.View(ctx, func(tx store.Tx) error {
		bid, err = e.bid(tx, key, r)
		return err
	})
	if err != nil {
		return out, err
	}
	if bid.compact == "" {
		if err := e.redeem(ctx, key, r, bid); err != nil {
			return out, err
		}
		e.wake(bid.offer.ID, []string{bid.device.ID})
	}
	return protocol.OTPRedeemed{Now: e.now().Unix(), Request: bid.compact}, nil
}

func (e *Engine) redeemsTooOften(key string) error {
	now := e.now()
	for _, l := range []struct {
		limit *limit.Limiter
		key   string
	}{{&e.redeems, key}, {&e.allRedeems, ""}} {
		if ok, again := l.limit.Admit(l.key, now); !ok {
			p := problem.New(protocol.ProblemRateLimited, "codes are tried too often")
			p.RetryAfter = max(1, int(again.Sub(now).Round(time.Second)/time.Second))
			return p
		}
	}
	return nil
}

func unknownCode() error {
	return problem.New(protocol.ProblemOTPUnknown, "there is no such code, or it has expired, or another device has used it")
}

// redemption is a code that a device may redeem, or has.
type redemption struct {
	device store.Device
	offer  store.Offer
	typ    store.Type
	// compact is the request, where there is one already.
	compact string
}

// bid finds what a code stands for, and whether the device may have it.
func (e *Engine) bid(tx store.Tx, key string, r protocol.OTPRedemption) (*redemption, error) {
	d, err := Admit(tx, key, true)
	if err != nil {
		return nil, err
	}
	o, err := tx.OfferOf(store.HashSecret(r.OTP))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, unknownCode()
	case err != nil:
		return nil, err
	case !e.now().Before(o.ExpiresAt) || o.State.Final() || o.Device != "" && o.Device != d.ID:
		return nil, unknownCode()
	}
	out := &redemption{device: d, offer: o}
	if o.Device == d.ID {
		request, err := requestOf(tx, o.ID, d.ID)
		out.compact = request.Compact
		return out, err
	}
	if out.typ, err = typeOf(tx, o.Type); err != nil {
		return nil, err
	}
	if out.typ.HighValue && r.Origin == protocol.OriginLink {
		return nil, problem.New(protocol.ProblemOTPRefused, "what is of high value is not taken from a link: read the code from the screen, or type it")
	}
	refused, err := e.unasked(tx, o.ClientID, d, out.typ, e.now())
	if err == nil {
		err = refused
	}
	return out, err
}

// redeem makes the offer a transaction of the device's user.
func (e *Engine) redeem(ctx context.Context, key string, r protocol.OTPRedemption, bid *redemption) error {
	o := bid.offer
	t := offered(o)
	t.User = bid.device.User
	compact, err := e.request(t, Start{Message: o.Content.Message, Details: o.Content.Details, Context: o.Content.Context, SigningData: o.Content.SigningData}, bid.typ, bid.device, r.Origin)
	if err != nil {
		return err
	}
	err = e.store.Update(ctx, func(tx store.Tx) error {
		// Signing took its time.
		now, err := e.bid(tx, key, r)
		if err != nil {
			return err
		}
		if now.compact != "" {
			compact = now.compact
			return nil
		}
		return errors.Join(
			tx.RedeemOffer(o.ID, bid.device.ID),
			tx.AddTransaction(t, []store.Request{{Transaction: t.ID, Device: bid.device.ID, Compact: compact}}),
			tx.AddEvent(store.Event{At: e.now(), Kind: "otp.redeemed", User: t.User, Device: bid.device.ID, Client: t.ClientID, Transaction: t.ID, Detail: r.Origin}),
		)
	})
	if err != nil {
		if problem.From(err).Code == protocol.ProblemInternal {
			return fmt.Errorf("engine: redeem: %w", err)
		}
		return err
	}
	bid.compact = compact
	return nil
}
