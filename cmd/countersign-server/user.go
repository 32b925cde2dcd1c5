package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

func (c *cli) userCommand() *cobra.Command {
	return group("user", "The people who approve", c.userAdd(), c.userList(), c.userLock("lock", true), c.userLock("unlock", false))
}

func (c *cli) userAdd() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "add NAME", Short: "Add a user", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				if err := s.office.AddUser(ctx, args[0]); err != nil {
					return err
				}
				c.print(map[string]string{"name": args[0]}, "Added %s.", args[0])
				return nil
			})
		}),
	})
}

func (c *cli) userLock(use string, locked bool) *cobra.Command {
	short, text := "Let a user ask and answer again", "Unlocked %s."
	if locked {
		short, text = "Neither ask a user nor take the user's answers", "Locked %s."
	}
	return c.withData(&cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				if err := s.office.Lock(ctx, args[0], locked); err != nil {
					return err
				}
				c.print(map[string]any{"name": args[0], "locked": locked}, text, args[0])
				return nil
			})
		}),
	})
}

type userJSON struct {
	Name      string    `json:"name"`
	Locked    bool      `json:"locked"`
	CreatedAt time.Time `json:"created_at"`
}

func (c *cli) userList() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listUsers(ctx, s) })
		}),
	})
}

func (c *cli) listUsers(ctx context.Context, s *state) error {
	users, err := s.office.Users(ctx)
	if err != nil {
		return err
	}
	out, rows := make([]userJSON, len(users)), make([][]string, len(users))
	for i, u := range users {
		state := "active"
		if u.Locked {
			state = "locked"
		}
		out[i] = userJSON{u.Name, u.Locked, u.CreatedAt.UTC()}
		rows[i] = []string{u.Name, state, rfc3339(u.CreatedAt)}
	}
	c.table(map[string]any{"users": out}, "NAME STATE ADDED", rows)
	return nil
}
