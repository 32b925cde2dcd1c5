package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

type eventJSON struct {
	ID          int64     `json:"id"`
	At          time.Time `json:"at"`
	Kind        string    `json:"kind"`
	User        string    `json:"user,omitempty"`
	Device      string    `json:"device,omitempty"`
	Client      string    `json:"client,omitempty"`
	Transaction string    `json:"transaction,omitempty"`
	Machine     string    `json:"machine,omitempty"`
	Detail      string    `json:"detail,omitempty"`
}

func (c *cli) eventsCommand() *cobra.Command {
	var after int64
	var limit int
	cmd := c.withData(&cobra.Command{
		Use: "events", Short: "Show the audit trail, oldest first", Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if after < 0 || limit < 1 {
				return errors.New("--after and --limit are not negative, --limit not 0")
			}
			return nil
		},
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listEvents(ctx, s, after, limit) })
		}),
	})
	cmd.Flags().Int64Var(&after, "after", 0, "only events after this id")
	cmd.Flags().IntVar(&limit, "limit", 100, "the last so many")
	return cmd
}

func (c *cli) listEvents(ctx context.Context, s *state, after int64, limit int) error {
	events, err := s.office.Events(ctx, after, limit)
	if err != nil {
		return err
	}
	out, rows := make([]eventJSON, len(events)), make([][]string, len(events))
	for i, e := range events {
		out[i] = eventJSON{e.ID, e.At.UTC(), e.Kind, e.User, e.Device, e.Client, e.Transaction, e.Machine, e.Detail}
		rows[i] = []string{rfc3339(e.At), e.Kind, e.User, e.Device + e.Machine, e.Client, e.Transaction, e.Detail}
	}
	c.table(map[string]any{"events": out}, "AT KIND USER DEVICE CLIENT TRANSACTION DETAIL", rows)
	return nil
}
