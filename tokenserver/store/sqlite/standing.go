package sqlite

import (
	"errors"
	"strings"
	"time"

	"countersign/tokenserver/store"
)

func (t *tx) Link(device, prev, hash string, at time.Time) error {
	err := t.exec("INSERT INTO chain (device, prev, hash, at) VALUES (?, ?, ?, ?)", device, prev, hash, millis(at))
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	same, seen := t.exists("SELECT 1 FROM chain WHERE device = ? AND prev = ? AND hash = ?", device, prev, hash)
	if seen == nil && !same {
		return err
	}
	return seen
}

func (t *tx) Linked(device, hash string) (bool, error) {
	return t.exists("SELECT 1 FROM chain WHERE device = ? AND hash = ?", device, hash)
}

func (t *tx) exists(query string, args ...any) (bool, error) {
	return one(t, func(row scanner) (found bool, err error) { return found, row.Scan(&found) }, "SELECT EXISTS ("+query+")", args...)
}

func (t *tx) AddBlock(b store.Block) error {
	return t.exec("INSERT OR IGNORE INTO blocks (device, client_id, at) VALUES (?, ?, ?)", b.Device, b.Client, millis(b.At))
}

func (t *tx) RemoveBlock(device, client string) (bool, error) {
	err := t.swap("DELETE FROM blocks WHERE device = ? AND client_id = ?", device, client)
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

func (t *tx) Blocks(f store.BlockFilter) ([]store.Block, error) {
	where, args := []string{"1"}, []any{}
	for _, c := range []struct{ column, value string }{{"b.device", f.Device}, {"b.client_id", f.Client}, {"d.user", f.User}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	return all(t, func(row scanner) (b store.Block, err error) {
		err = row.Scan(&b.Device, &b.Client, &b.User, &b.ClientName, moment{&b.At})
		return b, err
	}, "SELECT b.device, b.client_id, d.user, c.name, b.at FROM blocks b JOIN devices d ON d.id = b.device JOIN clients c ON c.id = b.client_id"+
		" WHERE "+strings.Join(where, " AND ")+" ORDER BY b.at, b.rowid", args...)
}

func (t *tx) SuspendDevice(id, reason string) error {
	return t.swap("UPDATE devices SET suspended = ? WHERE id = ? AND (suspended = '') = (? <> '')", reason, id, reason)
}

func (t *tx) SetQuiet(id string, until time.Time, reason string) error {
	return t.swap("UPDATE devices SET quiet_until = ?, quiet_reason = ? WHERE id = ?", millis(until), reason, id)
}
