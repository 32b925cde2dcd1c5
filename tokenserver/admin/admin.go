// Package admin is what an operator does about users, relying parties and
// transaction types. It works beside a running server, in its process or
// another.
package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"countersign/internal/secret"
	"countersign/protocol"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// maxName is the limit of names in bytes, as the protocol has it.
const maxName = 128

// Office changes what the server knows of people and programs.
type Office struct {
	Store store.Store
	Hub   *fanout.Hub
	Now   func() time.Time
}

func checkName(name string) error {
	if strings.TrimSpace(name) == "" {
		return problem.New(protocol.CodeBadText, "the name is missing")
	}
	return protocol.CheckText("the name", name, maxName)
}

// AddUser adds a user.
func (o *Office) AddUser(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	now := o.Now()
	return o.Store.Update(ctx, func(tx store.Tx) error {
		err := tx.AddUser(store.User{Name: name, CreatedAt: now})
		if errors.Is(err, store.ErrConflict) {
			return problem.New(problem.UserExists, "there is a user of this name already")
		}
		if err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: now, Kind: "user.added", User: name})
	})
}

// Lock locks or unlocks a user. A locked user's devices are told at once.
func (o *Office) Lock(ctx context.Context, name string, locked bool) error {
	kind := "user.unlocked"
	if locked {
		kind = "user.locked"
	}
	var devices []store.Device
	err := o.Store.Update(ctx, func(tx store.Tx) error {
		err := tx.SetLocked(name, locked)
		if errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.UserUnknown, "there is no user of this name")
		}
		if err != nil {
			return err
		}
		if devices, err = tx.Devices(store.DeviceFilter{User: name}); err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: o.Now(), Kind: kind, User: name})
	})
	for _, d := range devices {
		o.Hub.Publish(fanout.Device(d.ID))
	}
	return err
}

// Users returns all users, by name.
func (o *Office) Users(ctx context.Context) (out []store.User, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		out, err = tx.Users()
		return err
	})
	return out, err
}

// AddClient adds a relying party and returns its secret, to be shown once. The
// name is what people read: "NAME asks you to approve".
func (o *Office) AddClient(ctx context.Context, name string) (store.Client, secret.Value, error) {
	if err := checkName(name); err != nil {
		return store.Client{}, secret.Value{}, err
	}
	text := rand.Text()
	c := store.Client{ID: store.NewID("c_"), Name: name, SecretHash: store.HashSecret(text), CreatedAt: o.Now()}
	err := o.Store.Update(ctx, func(tx store.Tx) error {
		err := tx.AddClient(c)
		if errors.Is(err, store.ErrConflict) {
			return problem.New(problem.ClientExists, "there is a relying party of this name already")
		}
		if err != nil {
			return err
		}
		return tx.AddEvent(store.Event{At: c.CreatedAt, Kind: "client.added", Client: c.ID, Detail: c.Name})
	})
	return c, secret.New([]byte(text)), err
}

// Events returns the last limit events after an id, oldest first.
func (o *Office) Events(ctx context.Context, after int64, limit int) (out []store.Event, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		out, err = tx.Events(after, limit)
		return err
	})
	return out, err
}
