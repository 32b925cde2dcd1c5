package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
	"countersign/tokenserver/store"
)

func (c *cli) deviceCommand() *cobra.Command {
	return group("device", "The devices that are enrolled", c.deviceList(), c.deviceRevoke())
}

type deviceJSON struct {
	ID          string            `json:"id"`
	User        string            `json:"user"`
	Profile     string            `json:"profile"`
	Name        string            `json:"name"`
	Platform    string            `json:"platform"`
	Agent       string            `json:"agent"`
	Provider    string            `json:"provider"`
	State       store.DeviceState `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Attestation protocol.Verdict  `json:"attestation"`
	CreatedAt   time.Time         `json:"created_at"`
	ChangedAt   time.Time         `json:"changed_at"`
}

func (c *cli) deviceList() *cobra.Command {
	var user string
	cmd := c.withData(&cobra.Command{
		Use: "list [--user NAME]", Short: "List the devices", Args: cobra.NoArgs,
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.listDevices(ctx, s, user) })
		}),
	})
	cmd.Flags().StringVar(&user, "user", "", "only this user's")
	return cmd
}

func (c *cli) listDevices(ctx context.Context, s *state, user string) error {
	devices, err := s.desk.Devices(ctx, user)
	if err != nil {
		return err
	}
	out, rows := make([]deviceJSON, len(devices)), make([][]string, len(devices))
	for i, d := range devices {
		out[i] = deviceJSON{
			d.ID, d.User, d.Profile, d.Facts.Name, d.Facts.Platform, d.Facts.Agent, d.Facts.Provider,
			d.State, d.Reason, d.Verdict, d.CreatedAt.UTC(), d.ChangedAt.UTC(),
		}
		state := string(d.State)
		if d.Reason != "" {
			state += " (" + d.Reason + ")"
		}
		rows[i] = []string{d.ID, d.User, d.Facts.Name, d.Facts.Provider, state, rfc3339(d.CreatedAt)}
	}
	c.table(map[string]any{"devices": out}, "ID USER NAME PROVIDER STATE ENROLLED", rows)
	return nil
}

func (c *cli) deviceRevoke() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "revoke ID", Short: "Put a device out, for good", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			return c.withState(ctx, func(s *state) error {
				d, err := s.desk.Revoke(ctx, enroll.Revocation{Device: args[0], Reason: enroll.ReasonRevoked})
				if err != nil {
					return err
				}
				c.print(map[string]string{"device": d.ID, "user": d.User, "state": string(store.DeviceRevoked)}, "Revoked %s of %s.", d.ID, d.User)
				return nil
			})
		}),
	})
}
