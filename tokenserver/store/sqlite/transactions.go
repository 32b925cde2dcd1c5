package sqlite

import (
	"strings"
	"time"

	"countersign/tokenserver/store"
)

const transactionColumns = "id, client_id, client_name, user, type, method, class, number, status, reason, tries, " +
	"created_at, expires_at, decided_at, decided_by, decision"

func (t *tx) AddTransaction(v store.Transaction, requests []store.Request) error {
	err := t.exec("INSERT INTO transactions ("+transactionColumns+") VALUES (?"+strings.Repeat(", ?", 15)+")",
		v.ID, v.ClientID, v.ClientName, v.User, v.Type, v.Method, v.Class.String(), v.Number, string(v.State), v.Reason, v.Tries,
		millis(v.CreatedAt), millis(v.ExpiresAt), millis(v.DecidedAt), v.DecidedBy, v.Decision)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if err := t.exec("INSERT INTO requests (transaction_id, device, compact) VALUES (?, ?, ?)", r.Transaction, r.Device, r.Compact); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) Transaction(id string) (store.Transaction, error) {
	return one(t, func(row scanner) (v store.Transaction, err error) {
		err = row.Scan(&v.ID, &v.ClientID, &v.ClientName, &v.User, &v.Type, &v.Method, class{&v.Class}, &v.Number, &v.State, &v.Reason, &v.Tries,
			moment{&v.CreatedAt}, moment{&v.ExpiresAt}, moment{&v.DecidedAt}, &v.DecidedBy, &v.Decision)
		return v, err
	}, "SELECT "+transactionColumns+" FROM transactions WHERE id = ?", id)
}

func (t *tx) Finish(id string, o store.Outcome) error {
	return t.swap("UPDATE transactions SET status = ?, reason = ?, decided_at = ?, decided_by = ?, decision = ? WHERE id = ? AND status = 'pending'",
		string(o.State), o.Reason, millis(o.At), o.Device, o.Decision, id)
}

func (t *tx) UseTry(id string, limit int) (int, error) {
	if err := t.swap("UPDATE transactions SET tries = tries + 1 WHERE id = ? AND status = 'pending' AND tries < ?", id, limit); err != nil {
		return 0, err
	}
	v, err := t.Transaction(id)
	return v.Tries, err
}

func (t *tx) Overdue(now time.Time, limit int) ([]string, error) {
	return all(t, text, "SELECT id FROM transactions WHERE status = 'pending' AND expires_at <= ? ORDER BY expires_at LIMIT ?", millis(now), limit)
}

func scanRequest(row scanner) (r store.Request, err error) {
	err = row.Scan(&r.Transaction, &r.Device, &r.Compact)
	return r, err
}

func (t *tx) Pending(user, device string, now time.Time) ([]store.Request, error) {
	return all(t, scanRequest, `SELECT r.transaction_id, r.device, r.compact
		FROM transactions t JOIN requests r ON r.transaction_id = t.id AND r.device = ?
		WHERE t.user = ? AND t.status = 'pending' AND t.expires_at > ?
			AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.device = r.device AND b.client_id = t.client_id)
		ORDER BY t.created_at, t.rowid`, device, user, millis(now))
}

func (t *tx) Request(transaction, device string) (store.Request, error) {
	return one(t, scanRequest, "SELECT transaction_id, device, compact FROM requests WHERE transaction_id = ? AND device = ?", transaction, device)
}

func (t *tx) Addressed(transaction string) ([]string, error) {
	return all(t, text, "SELECT device FROM requests WHERE transaction_id = ? ORDER BY rowid", transaction)
}

const decisionColumns = "hash, device, transaction_id, key, compact, prev, status, answer, receipt, at"

func (t *tx) AddDecision(d store.Decision) error {
	return t.exec("INSERT INTO decisions ("+decisionColumns+") VALUES (?"+strings.Repeat(", ?", 9)+")",
		d.Hash, d.Device, d.Transaction, d.Key, d.Compact, d.Prev, d.Status, d.Answer, d.Receipt, millis(d.At))
}

func (t *tx) Decision(device, hash string) (store.Decision, error) {
	return one(t, func(row scanner) (d store.Decision, err error) {
		err = row.Scan(&d.Hash, &d.Device, &d.Transaction, &d.Key, &d.Compact, &d.Prev, &d.Status, &d.Answer, &d.Receipt, moment{&d.At})
		return d, err
	}, "SELECT "+decisionColumns+" FROM decisions WHERE device = ? AND hash = ?", device, hash)
}

const eventColumns = "at, kind, user, device, client, transaction_id, detail, machine"

func (t *tx) AddEvent(e store.Event) error {
	return t.exec("INSERT INTO events ("+eventColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		millis(e.At), e.Kind, e.User, e.Device, e.Client, e.Transaction, e.Detail, e.Machine)
}

func (t *tx) Events(after int64, limit int) ([]store.Event, error) {
	return all(t, func(row scanner) (e store.Event, err error) {
		err = row.Scan(&e.ID, moment{&e.At}, &e.Kind, &e.User, &e.Device, &e.Client, &e.Transaction, &e.Detail, &e.Machine)
		return e, err
	}, "SELECT * FROM (SELECT id, "+eventColumns+" FROM events WHERE id > ? ORDER BY id DESC LIMIT ?) ORDER BY id", after, limit)
}
