package sqlite

import (
	"strings"
	"time"

	"countersign/tokenserver/store"
)

//nolint:gosec // names of columns
const tokenColumns = "hash, user, expires_at, confirm, replaces, used_by, created_at"

func (t *tx) AddToken(v store.Token) error {
	return t.exec("INSERT INTO tokens ("+tokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
		v.Hash, v.User, millis(v.ExpiresAt), v.Confirm, v.Replaces, v.UsedBy, millis(v.CreatedAt))
}

func (t *tx) Token(hash []byte) (store.Token, error) {
	return one(t, func(row scanner) (v store.Token, err error) {
		err = row.Scan(&v.Hash, &v.User, moment{&v.ExpiresAt}, &v.Confirm, &v.Replaces, &v.UsedBy, moment{&v.CreatedAt})
		return v, err
	}, "SELECT "+tokenColumns+" FROM tokens WHERE hash = ?", hash)
}

func (t *tx) UseToken(hash []byte, enrollment string) error {
	return t.swap("UPDATE tokens SET used_by = ? WHERE hash = ? AND used_by = ''", enrollment, hash)
}

const deviceColumns = "id, enrollment, profile, user, token_hash, state, reason, facts, verdict, challenge, device_csr, approval_csr, " +
	"device_chain, approval_chain, device_key, approval_key, confirm, replaces, code, created_at, changed_at, device_verdict, " +
	"suspended, quiet_until, quiet_reason, succeeds, successor, trust_seq, trust_at"

func (t *tx) AddDevice(d store.Device) error {
	docs, err := encodeAll(d.Facts, d.Verdict, d.DeviceChain, d.ApprovalChain, d.DeviceVerdict)
	if err != nil {
		return err
	}
	// The two columns are unique each; a key must not be in the other either,
	// nor in the past.
	if known, err := t.keysKnown(d.DeviceKey, d.ApprovalKey); known || err != nil {
		return orConflict(err)
	}
	if d.DeviceKey == d.ApprovalKey {
		return store.ErrConflict
	}
	return t.exec("INSERT INTO devices ("+deviceColumns+") VALUES (?"+strings.Repeat(", ?", 28)+")",
		d.ID, d.Enrollment, d.Profile, d.User, d.TokenHash, string(d.State), d.Reason, docs[0], docs[1], d.Challenge,
		d.DeviceCSR, d.ApprovalCSR, docs[2], docs[3], d.DeviceKey, d.ApprovalKey, d.Confirm, d.Replaces, d.Code,
		millis(d.CreatedAt), millis(d.ChangedAt), docs[4], d.Suspended, millis(d.QuietUntil), d.QuietReason, d.Succeeds, d.Successor,
		d.TrustSeq, millis(d.TrustAt))
}

func scanDevice(row scanner) (d store.Device, err error) {
	err = row.Scan(&d.ID, &d.Enrollment, &d.Profile, &d.User, &d.TokenHash, &d.State, &d.Reason, document{&d.Facts},
		document{&d.Verdict}, &d.Challenge, &d.DeviceCSR, &d.ApprovalCSR, document{&d.DeviceChain}, document{&d.ApprovalChain},
		&d.DeviceKey, &d.ApprovalKey, &d.Confirm, &d.Replaces, &d.Code, moment{&d.CreatedAt}, moment{&d.ChangedAt},
		document{&d.DeviceVerdict}, &d.Suspended, moment{&d.QuietUntil}, &d.QuietReason, &d.Succeeds, &d.Successor,
		&d.TrustSeq, moment{&d.TrustAt})
	return d, err
}

func (t *tx) Devices(f store.DeviceFilter) ([]store.Device, error) {
	where, args := []string{"1"}, []any{}
	for _, c := range []struct{ column, value string }{
		{"id", f.ID}, {"enrollment", f.Enrollment}, {"user", f.User}, {"code", f.Code},
	} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Key != "" {
		where, args = append(where, "(device_key = ? OR approval_key = ?)"), append(args, f.Key, f.Key)
	}
	if len(f.States) > 0 {
		where = append(where, "state IN (?"+strings.Repeat(", ?", len(f.States)-1)+")")
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	return all(t, scanDevice, "SELECT "+deviceColumns+" FROM devices WHERE "+strings.Join(where, " AND ")+" ORDER BY created_at, rowid", args...)
}

func (t *tx) IssueDevice(id string, i store.DeviceIssue) error {
	docs, err := encodeAll(i.Verdict, i.DeviceVerdict, i.DeviceChain, i.ApprovalChain)
	if err != nil {
		return err
	}
	return t.swap("UPDATE devices SET state = ?, verdict = ?, device_verdict = ?, device_chain = ?, approval_chain = ?, changed_at = ? "+
		"WHERE id = ? AND state = 'pending'",
		string(i.State), docs[0], docs[1], docs[2], docs[3], millis(i.At), id)
}

func (t *tx) SetDeviceState(id string, from, to store.DeviceState, reason string, at time.Time) error {
	return t.swap("UPDATE devices SET state = ?, reason = ?, changed_at = ? WHERE id = ? AND state = ?",
		string(to), reason, millis(at), id, string(from))
}

func (t *tx) SetSuccessor(id, successor string) error {
	return t.swap("UPDATE devices SET successor = ? WHERE id = ? AND state = 'revoked'", successor, id)
}

func (t *tx) SetTrust(id string, seq int64, at time.Time) error {
	return t.swap("UPDATE devices SET trust_seq = ?, trust_at = ? WHERE id = ? AND trust_seq < ?", seq, millis(at), id, seq)
}

func (t *tx) DropPending(id string) error {
	return t.swap("DELETE FROM devices WHERE id = ? AND state = 'pending'", id)
}

func encodeAll(values ...any) ([]string, error) {
	out := make([]string, len(values))
	for i, v := range values {
		var err error
		if out[i], err = encode(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}
