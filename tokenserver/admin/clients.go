package admin

import (
	"context"
	"errors"

	"countersign/tokenserver/engine"
	"countersign/tokenserver/fanout"
	"countersign/tokenserver/problem"
	"countersign/tokenserver/store"
)

// Client is a relying party and who blocked it.
type Client struct {
	store.Client
	Blocks []store.Block
}

// Clients returns all relying parties, by name.
func (o *Office) Clients(ctx context.Context) (out []Client, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		clients, err := tx.Clients()
		if err != nil {
			return err
		}
		for _, c := range clients {
			blocks, err := tx.Blocks(store.BlockFilter{Client: c.ID})
			if err != nil {
				return err
			}
			out = append(out, Client{c, blocks})
		}
		return nil
	})
	return out, err
}

// Unblock lets a relying party, named or by its id, ask a user's devices again,
// and returns the blocks that it lifted.
func (o *Office) Unblock(ctx context.Context, client, user string) (lifted []store.Block, err error) {
	err = o.Store.Update(ctx, func(tx store.Tx) error {
		c, err := findClient(tx, client)
		if err != nil {
			return err
		}
		if _, err := tx.User(user); errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.UserUnknown, "there is no user of this name")
		} else if err != nil {
			return err
		}
		if lifted, err = tx.Blocks(store.BlockFilter{Client: c.ID, User: user}); err != nil {
			return err
		}
		for _, b := range lifted {
			if err := engine.Unblock(tx, store.Device{ID: b.Device, User: b.User}, b.Client, o.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	for _, b := range lifted {
		o.Hub.Publish(fanout.Device(b.Device))
	}
	return lifted, err
}

func findClient(tx store.Tx, name string) (store.Client, error) {
	clients, err := tx.Clients()
	if err != nil {
		return store.Client{}, err
	}
	for _, c := range clients {
		if c.ID == name || c.Name == name {
			return c, nil
		}
	}
	return store.Client{}, problem.New(problem.ClientUnknown, "there is no relying party of this name or id")
}
