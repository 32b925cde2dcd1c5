package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) clientCommand() *cobra.Command {
	add := c.withData(&cobra.Command{
		Use: "add NAME", Short: "Add a relying party and show its secret, once", Args: cobra.ExactArgs(1),
		Long: "Add a relying party and show its secret, once. People read NAME in every request: \"NAME asks you to approve\".",
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error { return c.addClient(ctx, s, args[0]) })
		}),
	})
	return group("client", "The relying parties", add, c.clientList(), c.clientUnblock())
}

func (c *cli) addClient(ctx context.Context, s *state, name string) error {
	client, secret, err := s.office.AddClient(ctx, name)
	if err != nil {
		return err
	}
	text := string(secret.Reveal())
	c.print(map[string]string{"client_id": client.ID, "client_secret": text, "name": client.Name},
		"client_id      %s\nclient_secret  %s\nThe secret is not shown again.", client.ID, text)
	return nil
}

type clientJSON struct {
	ID        string      `json:"client_id"`
	Name      string      `json:"name"`
	CreatedAt time.Time   `json:"created_at"`
	Blocks    []blockJSON `json:"blocks"`
}

// blockJSON is a device whose person wants no more of a relying party.
type blockJSON struct {
	User   string    `json:"user"`
	Device string    `json:"device"`
	At     time.Time `json:"at"`
}

func (c *cli) clientList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the relying parties, and who blocked them", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listClients(ctx, s) })
		}),
	})
}

func (c *cli) listClients(ctx context.Context, s *state) error {
	clients, err := s.office.Clients(ctx)
	if err != nil {
		return err
	}
	out, rows := make([]clientJSON, len(clients)), make([][]string, len(clients))
	for i, cl := range clients {
		out[i] = clientJSON{cl.ID, cl.Name, cl.CreatedAt.UTC(), []blockJSON{}}
		var users []string
		for _, b := range cl.Blocks {
			out[i].Blocks = append(out[i].Blocks, blockJSON{b.User, b.Device, b.At.UTC()})
			users = append(users, b.User)
		}
		rows[i] = []string{cl.ID, cl.Name, rfc3339(cl.CreatedAt), strings.Join(users, ",")}
	}
	c.table(map[string]any{"clients": out}, "ID NAME ADDED BLOCKED-BY", rows)
	return nil
}

func (c *cli) clientUnblock() *cobra.Command {
	var user string
	cmd := c.withData(&cobra.Command{
		Use: "unblock CLIENT --user NAME", Short: "Let a relying party ask a user again who blocked it", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				lifted, err := s.office.Unblock(ctx, args[0], user)
				if err != nil {
					return err
				}
				c.print(map[string]int{"lifted": len(lifted)}, "Lifted %d blocks of %s. What the device itself blocked, its user lifts.", len(lifted), user)
				return nil
			})
		}),
	})
	cmd.Flags().StringVar(&user, "user", "", "the user who blocked it")
	_ = cmd.MarkFlagRequired("user")
	return cmd
}
