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
	"crypto/rand"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/pki"
	"countersign/tokenserver/store"
)

// MaxTries is how many wrong numbers end a transaction, over all devices.
const MaxTries = 3

// Engine is the transaction engine. It is safe for concurrent use.
type Engine struct {
	store  store.Store
	hub    *fanout.Hub
	pki    *pki.Authority
	keys   protocol.Keys
	issuer string
	now    func() time.Time
}

// New makes an engine that signs as issuer.
func New(st store.Store, hub *fanout.Hub, authority *pki.Authority, issuer string, now func() time.Time) (*Engine, error) {
	keys, err := authority.IssuerKeys()
	if err != nil {
		return nil, err
	}
	return &Engine{st, hub, authority, keys, issuer, now}, nil
}

func (e *Engine) signer() crypto.Signer { return e.pki.Issuer() }

// second is now, as messages tell time.
func (e *Engine) second() time.Time { return e.now().Truncate(time.Second) }

func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// wake tells everybody who waits for the transaction, or as one of its devices.
func (e *Engine) wake(transaction string, devices []string) {
	topics := []string{fanout.Transaction(transaction)}
	for _, d := range devices {
		topics = append(topics, fanout.Device(d))
	}
	e.hub.Publish(topics...)
}
