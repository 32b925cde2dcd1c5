package sqlite

import (
	"strings"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

const machineColumns = "id, ek, state, reason, facts, endorsement, chip, key, chain, token, created_at, enrolled_at, seen_at, reported_at, report, trust_seq, trust_at"

func (t *tx) PutMachine(m store.Machine) error {
	if err := t.notADevice(m.Key); err != nil {
		return err
	}
	docs, err := encodeAll(m.Facts, m.Chip, m.Chain, m.Report)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO machines ("+machineColumns+") VALUES (?"+strings.Repeat(", ?", 16)+") ON CONFLICT (id) DO UPDATE SET "+
		"ek = excluded.ek, state = excluded.state, reason = excluded.reason, facts = excluded.facts, endorsement = excluded.endorsement, "+
		"chip = excluded.chip, key = excluded.key, chain = excluded.chain, token = excluded.token, created_at = excluded.created_at, "+
		"enrolled_at = excluded.enrolled_at, seen_at = excluded.seen_at, reported_at = excluded.reported_at, report = excluded.report, "+
		"trust_seq = excluded.trust_seq, trust_at = excluded.trust_at",
		m.ID, m.EK, string(m.State), m.Reason, docs[0], m.Endorsement, docs[1], m.Key, docs[2], m.Token,
		millis(m.CreatedAt), millis(m.EnrolledAt), millis(m.SeenAt), millis(m.ReportedAt), docs[3], m.TrustSeq, millis(m.TrustAt))
}

func scanMachine(row scanner) (m store.Machine, err error) {
	err = row.Scan(&m.ID, &m.EK, &m.State, &m.Reason, document{&m.Facts}, &m.Endorsement, document{&m.Chip}, &m.Key, document{&m.Chain}, &m.Token,
		moment{&m.CreatedAt}, moment{&m.EnrolledAt}, moment{&m.SeenAt}, moment{&m.ReportedAt}, document{&m.Report}, &m.TrustSeq, moment{&m.TrustAt})
	return m, err
}

func (t *tx) Machines(f store.MachineFilter) ([]store.Machine, error) {
	where, args := []string{"1"}, []any{}
	for _, c := range []struct{ column, value string }{{"id", f.ID}, {"ek", f.EK}, {"key", f.Key}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	return all(t, scanMachine, "SELECT "+machineColumns+" FROM machines WHERE "+strings.Join(where, " AND ")+" ORDER BY created_at, rowid", args...)
}

func (t *tx) RevokeMachine(id, reason string) error {
	return t.swap("UPDATE machines SET state = 'revoked', reason = ? WHERE id = ? AND state = 'active'", reason, id)
}

func (t *tx) SetMachineChain(id string, chain [][]byte) error {
	doc, err := encode(chain)
	if err != nil {
		return err
	}
	return t.swap("UPDATE machines SET chain = ? WHERE id = ?", doc, id)
}

func (t *tx) SeeMachine(id string, at time.Time, report *protocol.MachineReport) error {
	if report == nil {
		return t.swap("UPDATE machines SET seen_at = ? WHERE id = ?", millis(at), id)
	}
	doc, err := encode(report)
	if err != nil {
		return err
	}
	return t.swap("UPDATE machines SET seen_at = ?1, reported_at = ?1, report = ?2 WHERE id = ?3", millis(at), doc, id)
}

func (t *tx) SetMachineTrust(id string, seq int64, at time.Time) error {
	return t.swap("UPDATE machines SET trust_seq = ?, trust_at = ? WHERE id = ? AND trust_seq < ?", seq, millis(at), id, seq)
}

// notADevice refuses a key that is or was a device's, or was meant to become
// one's.
func (t *tx) notADevice(key string) error {
	known, err := one(t, func(row scanner) (found bool, err error) { return found, row.Scan(&found) },
		"SELECT EXISTS (SELECT 1 FROM devices WHERE device_key = ?1 OR approval_key = ?1"+
			" UNION ALL SELECT 1 FROM renewals WHERE key = ?1 OR old_key = ?1)", key)
	if err == nil && known {
		return store.ErrConflict
	}
	return err
}

const machineEnrollmentColumns = "id, key, ek, token, start, endorsement, challenge, credential, secret, machine, proof, created_at"

func (t *tx) AddMachineEnrollment(e store.MachineEnrollment) error {
	if err := t.notADevice(e.Key); err != nil {
		return err
	}
	docs, err := encodeAll(e.Start, e.Credential, e.Proof)
	if err != nil {
		return err
	}
	if err := t.exec("DELETE FROM machine_enrollments WHERE ek = ? AND machine = ''", e.EK); err != nil {
		return err
	}
	return t.exec("INSERT INTO machine_enrollments ("+machineEnrollmentColumns+") VALUES (?"+strings.Repeat(", ?", 11)+")",
		e.ID, e.Key, e.EK, e.Token, docs[0], e.Endorsement, e.Challenge, docs[1], e.Secret, e.Machine, docs[2], millis(e.CreatedAt))
}

func scanMachineEnrollment(row scanner) (e store.MachineEnrollment, err error) {
	err = row.Scan(&e.ID, &e.Key, &e.EK, &e.Token, document{&e.Start}, &e.Endorsement, &e.Challenge, document{&e.Credential}, &e.Secret,
		&e.Machine, document{&e.Proof}, moment{&e.CreatedAt})
	return e, err
}

func (t *tx) MachineEnrollment(id string) (store.MachineEnrollment, error) {
	return one(t, scanMachineEnrollment, "SELECT "+machineEnrollmentColumns+" FROM machine_enrollments WHERE id = ?", id)
}

func (t *tx) MachineEnrollmentOf(key string) (store.MachineEnrollment, error) {
	return one(t, scanMachineEnrollment, "SELECT "+machineEnrollmentColumns+" FROM machine_enrollments WHERE key = ?", key)
}

func (t *tx) ProveMachineEnrollment(id, machine string, proof protocol.MachineActivation) error {
	doc, err := encode(proof)
	if err != nil {
		return err
	}
	return t.swap("UPDATE machine_enrollments SET machine = ?, proof = ? WHERE id = ? AND machine = ''", machine, doc, id)
}

func (t *tx) OpenMachineEnrollments(token string) (int, error) {
	return one(t, func(row scanner) (n int, err error) { return n, row.Scan(&n) }, "SELECT count(*) FROM machine_enrollments WHERE machine = '' AND token = ?", token)
}

func (t *tx) DropMachineEnrollments(before time.Time) error {
	return t.exec("DELETE FROM machine_enrollments WHERE machine = '' AND created_at < ?", millis(before))
}
