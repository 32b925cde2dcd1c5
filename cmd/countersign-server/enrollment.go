package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"countersign/protocol"
	"countersign/tokenserver/enroll"
)

// maxInvitation is the longest that an enrollment token lives.
const maxInvitation = 30 * 24 * time.Hour

func (c *cli) enrollmentCommand() *cobra.Command {
	return group("enrollment", "Let devices in", c.enrollmentCreate(), c.enrollmentConfirm())
}

func (c *cli) enrollmentCreate() *cobra.Command {
	var in enroll.Invitation
	cmd := c.withData(&cobra.Command{
		Use: "create --user NAME|--replace DEVICE", Short: "Make an enrollment link for one device of a user", Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if in.TTL <= 0 || in.TTL > maxInvitation {
				return errors.New("--ttl is more than 0 and at most 720h")
			}
			return nil
		},
		RunE: do(func(ctx context.Context, _ []string) error {
			return c.withState(ctx, func(s *state) error { return c.createEnrollment(ctx, s, in) })
		}),
	})
	flags := cmd.Flags()
	flags.StringVar(&in.User, "user", "", "whose device it is; with --replace that of the other device")
	flags.DurationVar(&in.TTL, "ttl", 10*time.Minute, "how long the link works")
	flags.BoolVar(&in.Confirm, "confirm", false, "the device is active only after enrollment confirm")
	flags.StringVar(&in.Replace, "replace", "", "the device that goes when the new one is active")
	cmd.MarkFlagsOneRequired("user", "replace")
	return cmd
}

func (c *cli) createEnrollment(ctx context.Context, s *state, in enroll.Invitation) error {
	where, err := s.readServed()
	if err != nil {
		return err
	}
	token, t, err := s.desk.Invite(ctx, in)
	if err != nil {
		return err
	}
	uri := protocol.EnrollURI{Server: where.DeviceURL, Token: token, CA: where.Pin}.String()
	c.print(map[string]any{"uri": uri, "expires_at": t.ExpiresAt.UTC().Truncate(time.Second), "user": t.User, "confirm": t.Confirm},
		"%s\nIt works once, until %s.", uri, rfc3339(t.ExpiresAt))
	if f, ok := c.out.(*os.File); ok && !c.json && term.IsTerminal(int(f.Fd())) {
		return drawQR(c.out, uri)
	}
	return nil
}

func (c *cli) enrollmentConfirm() *cobra.Command {
	return c.withData(&cobra.Command{
		Use: "confirm CODE|-", Short: "Make the device active that shows this code", Args: cobra.ExactArgs(1),
		RunE: do(func(ctx context.Context, args []string) error {
			code, err := c.argument(args[0])
			if err != nil {
				return err
			}
			return c.withState(ctx, func(s *state) error {
				d, err := s.desk.Confirm(ctx, code)
				if err != nil {
					return err
				}
				c.print(map[string]string{"device": d.ID, "user": d.User, "state": string(d.State)}, "Confirmed %s (%s) of %s.", d.ID, d.Facts.Name, d.User)
				return nil
			})
		}),
	})
}
