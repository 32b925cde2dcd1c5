package sqlite

import (
	"time"

	"countersign/tokenserver/store"
)

//nolint:gosec // names of columns
const machineTokenColumns = "id, hash, note, uses, used, expires_at, created_at, revoked_at"

func (t *tx) AddMachineToken(v store.MachineToken) error {
	return t.exec("INSERT INTO machine_tokens ("+machineTokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		v.ID, v.Hash, v.Note, v.Uses, v.Used, millis(v.ExpiresAt), millis(v.CreatedAt), millis(v.RevokedAt))
}

func scanMachineToken(row scanner) (v store.MachineToken, err error) {
	err = row.Scan(&v.ID, &v.Hash, &v.Note, &v.Uses, &v.Used, moment{&v.ExpiresAt}, moment{&v.CreatedAt}, moment{&v.RevokedAt})
	return v, err
}

func (t *tx) MachineTokenOf(hash []byte) (store.MachineToken, error) {
	return one(t, scanMachineToken, "SELECT "+machineTokenColumns+" FROM machine_tokens WHERE hash = ?", hash)
}

func (t *tx) MachineToken(id string) (store.MachineToken, error) {
	return one(t, scanMachineToken, "SELECT "+machineTokenColumns+" FROM machine_tokens WHERE id = ?", id)
}

func (t *tx) MachineTokens() ([]store.MachineToken, error) {
	return all(t, scanMachineToken, "SELECT "+machineTokenColumns+" FROM machine_tokens ORDER BY created_at, rowid")
}

func (t *tx) UseMachineToken(id string) error {
	return t.swap("UPDATE machine_tokens SET used = used + 1 WHERE id = ? AND used < uses AND revoked_at = 0", id)
}

func (t *tx) RevokeMachineToken(id string, at time.Time) error {
	return t.swap("UPDATE machine_tokens SET revoked_at = ? WHERE id = ? AND revoked_at = 0", millis(at), id)
}

func (t *tx) RegisterEK(k store.RegisteredEK) error {
	return t.exec("INSERT INTO machine_eks (ek, name, created_at) VALUES (?, ?, ?) ON CONFLICT (ek) DO UPDATE SET name = excluded.name",
		k.EK, k.Name, millis(k.CreatedAt))
}

func scanRegisteredEK(row scanner) (k store.RegisteredEK, err error) {
	err = row.Scan(&k.EK, &k.Name, moment{&k.CreatedAt})
	return k, err
}

func (t *tx) RegisteredEK(ek string) (store.RegisteredEK, error) {
	return one(t, scanRegisteredEK, "SELECT ek, name, created_at FROM machine_eks WHERE ek = ?", ek)
}

func (t *tx) RegisteredEKs() ([]store.RegisteredEK, error) {
	return all(t, scanRegisteredEK, "SELECT ek, name, created_at FROM machine_eks ORDER BY created_at, rowid")
}

func (t *tx) UnregisterEK(ek string) error {
	if err := t.swap("DELETE FROM machine_eks WHERE ek = ?", ek); err != nil {
		return store.ErrNotFound
	}
	return nil
}
