package enroll

import (
	"countersign/protocol"
	"countersign/tokenserver/store"
)

// succeed records which device an applicant says it was before. What is said
// must be true: of an active device of the same user, by that device's own key,
// about the applicant's key. It changes nothing of who may enroll.
func (s *Service) succeed(tx store.Tx, a *applicant) error {
	if a.succeeds == nil {
		return nil
	}
	d := &a.device
	old, err := store.One(tx.Devices(store.DeviceFilter{ID: a.succeeds.Device, User: d.User, States: []store.DeviceState{store.DeviceActive}}))
	if err != nil || a.succeeds.Device == "" {
		return badSuccession("the device that this one succeeds is not an active one of the same user")
	}
	key, err := s.predecessor(old.DeviceChain)
	if err != nil {
		return err
	}
	word, err := protocol.ParsePredecessor(a.succeeds.Word, key)
	if err != nil {
		return err
	}
	want := protocol.Succession{
		Issuer: old.ID, Audience: s.audience(word), Subject: old.Profile, IssuedAt: word.IssuedAt, Role: protocol.RoleDevice, Key: d.DeviceKey,
	}
	if *word != want {
		return badSuccession("the old device key has named another key, or for another server")
	}
	d.Succeeds = old.ID
	return tx.AddEvent(store.Event{At: d.CreatedAt, Kind: "device.succeeds", User: d.User, Device: d.ID, Detail: old.ID})
}
