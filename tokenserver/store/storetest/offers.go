package storetest

import (
	"testing"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

func testOffers(t *testing.T, s, _ store.Store) {
	f := begin(t, s)
	o := store.Offer{
		ID: "o", ClientID: "c", ClientName: "Bank", Type: "qr", Method: protocol.MethodOTP, Class: protocol.C2, Number: "000042", Code: []byte{1},
		Content: store.Content{Message: "m", Details: []protocol.Detail{{Label: "l", Value: "v"}}, Context: &protocol.Context{IP: "192.0.2.1"}},
		State:   protocol.StatePending, CreatedAt: f.at, ExpiresAt: f.at.Add(time.Minute),
	}
	f.update(func(tx store.Tx) error { return tx.AddOffer(o) })
	again := o
	again.ID = "p"
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.AddOffer(again) })
	same(f, o, func(tx store.Tx) (store.Offer, error) { return tx.Offer("o") })
	same(f, o, func(tx store.Tx) (store.Offer, error) { return tx.OfferOf([]byte{1}) })
	missing(f, func(tx store.Tx) (store.Offer, error) { return tx.OfferOf([]byte{2}) })
	missing(f, func(tx store.Tx) (store.Offer, error) { return tx.Offer("x") })
	overdue := func(at time.Time) func(store.Tx) ([]string, error) {
		return func(tx store.Tx) ([]string, error) { return tx.OverdueOffers(at, 10) }
	}
	same(f, nil, overdue(f.at))
	same(f, []string{"o"}, overdue(o.ExpiresAt))

	second := o
	second.ID, second.Code = "p", []byte{2}
	f.update(func(tx store.Tx) error { return tx.AddOffer(second) })
	f.update(func(tx store.Tx) error { return tx.RedeemOffer("o", "d") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.RedeemOffer("o", "e") })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.EndOffer("o", protocol.StateCancelled, f.at) })
	f.update(func(tx store.Tx) error { return tx.EndOffer("p", protocol.StateCancelled, f.at.Add(time.Second)) })
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.RedeemOffer("p", "d") })
	same(f, nil, overdue(o.ExpiresAt))
	o.Device = "d"
	same(f, o, func(tx store.Tx) (store.Offer, error) { return tx.Offer("o") })
	second.State, second.EndedAt = protocol.StateCancelled, f.at.Add(time.Second)
	same(f, second, func(tx store.Tx) (store.Offer, error) { return tx.Offer("p") })
}
