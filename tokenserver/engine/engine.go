// Package engine runs transactions: it asks devices, takes their decisions and
// sees to it that each transaction ends once, in one state.
//
// Every change of a state is a compare-and-set inside one transaction of the
// store, so that no interleaving of decisions, cancellations and expiry, in
// this process or another, can end a transaction twice. Nothing relies on the
// sweeper: it only makes known what time has already decided.
package engine

import (
	"crypto"
	"fmt"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/limit"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// MaxTries is how many wrong numbers end a transaction, over all devices.
const MaxTries = 3

// Engine is the transaction engine. It is safe for concurrent use.
type Engine struct {
	store  store.Store
	hub    *fanout.Hub
	pki    *pki.Authority
	issuer string
	now    func() time.Time
	// hold is how long after its enrollment a device is not asked for what is of
	// high value.
	hold time.Duration
	// redeems limits how often one device tries codes, allRedeems all of them.
	redeems, allRedeems limit.Limiter
}

// DefaultHold is how long a device must have been enrolled before it is asked
// for what is of high value.
const DefaultHold = 12 * time.Hour

// Config is what an Engine is made of. Every field is required; a Hold of 0 is
// none.
type Config struct {
	Store store.Store
	Hub   *fanout.Hub
	// PKI signs, and says under which name where the server has several.
	PKI *pki.Authority
	// Issuer is the name where PKI has published none.
	Issuer string
	Now    func() time.Time
	Hold   time.Duration
}

// New makes an engine.
func New(c Config) (*Engine, error) {
	if _, err := c.PKI.AllIssuerKeys(); err != nil {
		return nil, err
	}
	return &Engine{
		store: c.Store, hub: c.Hub, pki: c.PKI, issuer: c.Issuer, now: c.Now, hold: c.Hold,
		redeems:    limit.Limiter{Most: redeemsOfDevice, Window: redeemWindow},
		allRedeems: limit.Limiter{Most: redeemsOfAll, Window: redeemWindow},
	}, nil
}

// nameFor is what the server calls itself to a device: what that knows it by.
func (e *Engine) nameFor(d store.Device) string {
	if name := e.pki.NameFor(d.TrustSeq); name != "" {
		return name
	}
	return e.issuer
}

// signerOf is the key that a message of ours is signed with, so that its answer is
// of the same one. A retired key signs nothing, and what it asked ends with its time.
func (e *Engine) signerOf(compact string) (crypto.Signer, error) {
	kid, err := protocol.KeyID(compact)
	if err != nil {
		return nil, fmt.Errorf("engine: stored request: %s", err.Error())
	}
	if key, ok := e.pki.Signer(kid); ok {
		return key, nil
	}
	return nil, problem.New(protocol.ProblemDecisionRefused, "the request was signed with a key of the server's that is retired")
}

// second is now, as messages tell time.
func (e *Engine) second() time.Time { return e.now().Truncate(time.Second) }

// wake tells everybody who waits for the transaction, or as one of its devices.
func (e *Engine) wake(transaction string, devices []string) {
	var topics []string
	if transaction != "" {
		topics = append(topics, fanout.Transaction(transaction))
	}
	for _, d := range devices {
		topics = append(topics, fanout.Device(d))
	}
	e.hub.Publish(topics...)
}
