package sqlite

import (
	"errors"
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

const renewalColumns = "id, device, state, key, old_key, old_chain, request, challenge, credential, secret, verdict, proof, chain, created_at, changed_at"

func (t *tx) AddRenewal(r store.Renewal) error {
	if known, err := t.keysKnown(r.Key); known || err != nil {
		return orConflict(err)
	}
	docs, err := encodeAll(r.OldChain, r.Request, r.Credential, r.Verdict, r.Proof, r.Chain)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO renewals ("+renewalColumns+", role) VALUES (?"+strings.Repeat(", ?", 15)+")",
		r.ID, r.Device, string(r.State), r.Key, r.OldKey, docs[0], docs[1], r.Challenge, docs[2], r.Secret,
		docs[3], docs[4], docs[5], millis(r.CreatedAt), millis(r.ChangedAt), string(r.Request.Role))
}

// keysKnown reports whether any of these keys is or was a device's or a machine's,
// or was meant to become one's.
func (t *tx) keysKnown(keys ...string) (known bool, err error) {
	for _, key := range keys {
		known, err = one(t, func(row scanner) (found bool, err error) { return found, row.Scan(&found) },
			"SELECT EXISTS (SELECT 1 FROM devices WHERE device_key = ?1 OR approval_key = ?1"+
				" UNION ALL SELECT 1 FROM renewals WHERE key = ?1 OR old_key = ?1"+
				" UNION ALL SELECT 1 FROM machine_enrollments WHERE key = ?1)", key)
		if known || err != nil {
			return known, err
		}
	}
	return false, nil
}

func orConflict(err error) error {
	if err == nil {
		return store.ErrConflict
	}
	return err
}

func scanRenewal(row scanner) (r store.Renewal, err error) {
	err = row.Scan(&r.ID, &r.Device, &r.State, &r.Key, &r.OldKey, document{&r.OldChain}, document{&r.Request}, &r.Challenge,
		document{&r.Credential}, &r.Secret, document{&r.Verdict}, document{&r.Proof}, document{&r.Chain},
		moment{&r.CreatedAt}, moment{&r.ChangedAt})
	return r, err
}

func (t *tx) Renewals(f store.RenewalFilter) ([]store.Renewal, error) {
	where, args := []string{"1"}, []any{}
	for _, c := range []struct{ column, value string }{{"id", f.ID}, {"device", f.Device}, {"role", string(f.Role)}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Key != "" {
		where, args = append(where, "(key = ? OR old_key = ?)"), append(args, f.Key, f.Key)
	}
	if len(f.States) > 0 {
		where = append(where, "state IN (?"+strings.Repeat(", ?", len(f.States)-1)+")")
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	return all(t, scanRenewal, "SELECT "+renewalColumns+" FROM renewals WHERE "+strings.Join(where, " AND ")+" ORDER BY created_at, rowid", args...)
}

func (t *tx) IssueRenewal(id string, i store.RenewalIssue, at time.Time) error {
	docs, err := encodeAll(i.Verdict, i.Proof, i.Chain)
	if err != nil {
		return err
	}
	return t.swap("UPDATE renewals SET state = 'issued', verdict = ?, proof = ?, chain = ?, changed_at = ? WHERE id = ? AND state = 'pending'",
		docs[0], docs[1], docs[2], millis(at), id)
}

func (t *tx) CompleteRenewal(id string, at time.Time) error {
	r, err := one(t, scanRenewal, "SELECT "+renewalColumns+" FROM renewals WHERE id = ? AND state = 'issued'", id)
	if errors.Is(err, store.ErrNotFound) {
		return store.ErrConflict
	}
	if err != nil {
		return err
	}
	docs, err := encodeAll(r.Verdict, r.Chain)
	if err != nil {
		return err
	}
	swap := "UPDATE devices SET approval_key = ?, approval_csr = ?, approval_chain = ?, verdict = ? WHERE id = ? AND approval_key = ?"
	if r.Request.Role == protocol.RoleDevice {
		swap = "UPDATE devices SET device_key = ?, device_csr = ?, device_chain = ?, device_verdict = ? WHERE id = ? AND device_key = ?"
	}
	err = t.swap(swap, r.Key, []byte(r.Request.CSR), docs[1], docs[0], r.Device, r.OldKey)
	if err != nil {
		return err
	}
	return t.swap("UPDATE renewals SET state = 'done', changed_at = ? WHERE id = ? AND state = 'issued'", millis(at), id)
}

func (t *tx) DropRenewal(id string, at time.Time) error {
	return t.swap("UPDATE renewals SET state = 'dropped', changed_at = ? WHERE id = ? AND state IN ('pending', 'issued')", millis(at), id)
}
