package sqlite

import (
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

const offerColumns = "id, client_id, client_name, type, method, class, number, code, content, status, created_at, expires_at, ended_at, device"

func (t *tx) AddOffer(o store.Offer) error {
	content, err := encode(o.Content)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO offers ("+offerColumns+") VALUES (?"+strings.Repeat(", ?", 13)+")",
		o.ID, o.ClientID, o.ClientName, o.Type, o.Method, o.Class.String(), o.Number, o.Code, content, string(o.State),
		millis(o.CreatedAt), millis(o.ExpiresAt), millis(o.EndedAt), o.Device)
}

func scanOffer(row scanner) (o store.Offer, err error) {
	err = row.Scan(&o.ID, &o.ClientID, &o.ClientName, &o.Type, &o.Method, class{&o.Class}, &o.Number, &o.Code, document{&o.Content}, &o.State,
		moment{&o.CreatedAt}, moment{&o.ExpiresAt}, moment{&o.EndedAt}, &o.Device)
	return o, err
}

func (t *tx) Offer(id string) (store.Offer, error) {
	return one(t, scanOffer, "SELECT "+offerColumns+" FROM offers WHERE id = ?", id)
}

func (t *tx) OfferOf(code []byte) (store.Offer, error) {
	return one(t, scanOffer, "SELECT "+offerColumns+" FROM offers WHERE code = ?", code)
}

func (t *tx) RedeemOffer(id, device string) error {
	return t.swap("UPDATE offers SET device = ? WHERE id = ? AND status = 'pending' AND device = ''", device, id)
}

func (t *tx) EndOffer(id string, state protocol.State, at time.Time) error {
	return t.swap("UPDATE offers SET status = ?, ended_at = ? WHERE id = ? AND status = 'pending' AND device = ''", string(state), millis(at), id)
}

func (t *tx) OverdueOffers(now time.Time, limit int) ([]string, error) {
	return all(t, text, "SELECT id FROM offers WHERE status = 'pending' AND device = '' AND expires_at <= ? ORDER BY expires_at LIMIT ?", millis(now), limit)
}
