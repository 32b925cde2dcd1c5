package sqlite

import (
	"errors"
	"time"

	"countersign/protocol"
	"countersign/tokenserver/store"
)

const userColumns = "name, locked, created_at"

func scanUser(row scanner) (u store.User, err error) {
	err = row.Scan(&u.Name, &u.Locked, moment{&u.CreatedAt})
	return u, err
}

func (t *tx) AddUser(u store.User) error {
	return t.exec("INSERT INTO users ("+userColumns+") VALUES (?, ?, ?)", u.Name, u.Locked, millis(u.CreatedAt))
}

func (t *tx) User(name string) (store.User, error) {
	return one(t, scanUser, "SELECT "+userColumns+" FROM users WHERE name = ?", name)
}

func (t *tx) Users() ([]store.User, error) {
	return all(t, scanUser, "SELECT "+userColumns+" FROM users ORDER BY name")
}

func (t *tx) SetLocked(name string, locked bool) error {
	err := t.swap("UPDATE users SET locked = ? WHERE name = ?", locked, name)
	if errors.Is(err, store.ErrConflict) {
		return store.ErrNotFound
	}
	return err
}

const clientColumns = "id, name, secret_hash, created_at"

func (t *tx) AddClient(c store.Client) error {
	return t.exec("INSERT INTO clients ("+clientColumns+") VALUES (?, ?, ?, ?)", c.ID, c.Name, c.SecretHash, millis(c.CreatedAt))
}

func scanClient(row scanner) (c store.Client, err error) {
	err = row.Scan(&c.ID, &c.Name, &c.SecretHash, moment{&c.CreatedAt})
	return c, err
}

func (t *tx) Clients() ([]store.Client, error) {
	return all(t, scanClient, "SELECT "+clientColumns+" FROM clients ORDER BY name")
}

func (t *tx) Client(id string) (store.Client, error) {
	return one(t, scanClient, "SELECT "+clientColumns+" FROM clients WHERE id = ?", id)
}

const typeColumns = "name, method, class, ttl, digits, high_value, require, min_firmware, deny_vendors"

func (t *tx) PutType(v store.Type) error {
	docs, err := encodeAll(v.Require, v.MinFirmware, v.DenyVendors)
	if err != nil {
		return err
	}
	return t.exec("INSERT OR REPLACE INTO types ("+typeColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		v.Name, v.Method, v.Class.String(), int64(v.TTL/time.Second), v.Digits, v.HighValue, docs[0], docs[1], docs[2])
}

func scanType(row scanner) (v store.Type, err error) {
	var seconds int64
	err = row.Scan(&v.Name, &v.Method, class{&v.Class}, &seconds, &v.Digits, &v.HighValue, document{&v.Require},
		document{&v.MinFirmware}, document{&v.DenyVendors})
	v.TTL = time.Duration(seconds) * time.Second
	return v, err
}

func (t *tx) Type(name string) (store.Type, error) {
	return one(t, scanType, "SELECT "+typeColumns+" FROM types WHERE name = ?", name)
}

func (t *tx) Types() ([]store.Type, error) {
	return all(t, scanType, "SELECT "+typeColumns+" FROM types ORDER BY name")
}

// class reads a consent class by its name.
type class struct{ c *protocol.Class }

func (c class) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return errors.New("sqlite: a class is no text")
	}
	return c.c.UnmarshalText([]byte(s))
}
